using LongLora.Adapters;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Tokenization;

namespace LongLora.Generation;

/// <summary>What a <see cref="ChatModel"/> is made of.</summary>
public sealed record ChatModelOptions
{
    /// <summary>A model with its tokenizer: the folder of a Hugging Face model, a GGUF file, or the name of one.</summary>
    public required string Model { get; init; }

    /// <summary>Name by which clients ask for it; null for the name of the folder or file. Default null.</summary>
    public string? Name { get; init; }

    /// <summary>Folder of a PEFT adapter on it; null for none. Default null.</summary>
    public string? Adapter { get; init; }

    /// <summary>What the files of the adapter leave open; null for nothing. Default null.</summary>
    public AdapterReading? AdapterReading { get; init; }

    /// <summary>
    /// The chat template: <c>auto</c> for the model's own if it has one, one of <see cref="ChatTemplate.Names"/>, or a file; null for
    /// none, where text is only gone on with. Default <c>auto</c>.
    /// </summary>
    public string? Template { get; init; } = "auto";

    /// <summary>
    /// Most tokens of conversation and answer together; null for the model's context, or for no bound where the text is streamed. Default
    /// null.
    /// </summary>
    public int? Context { get; init; }

    /// <summary>In what numbers keys and values are kept; null for the type that the model computes in. Default null.</summary>
    public KeyValueType? CacheType { get; init; }

    /// <summary>
    /// Keeps the first tokens and the last ones alone, so that a conversation can go on without end; null keeps all. Default null.
    /// </summary>
    public StreamingOptions? Streaming { get; init; }

    /// <summary>
    /// Conversations whose keys and values are kept, so that what goes on from one of them is not read again; the one that was used
    /// longest ago makes room. Each takes the memory of a cache of its own length; answers that are generated together have one each while
    /// they run. Default 1.
    /// </summary>
    public int KeptConversations { get; init; } = 1;

    /// <summary>
    /// Answers that are generated together, from 1 to 64: their next tokens share one pass over the weights, so that several take little
    /// longer than one. On the CPU in fp32 the log-probabilities of an answer may differ a little (seen: 5e-6) by who is
    /// beside it; with 1 they never do. Each answer has a cache of its own. Default 1.
    /// </summary>
    public int ParallelAnswers { get; init; } = 1;

    /// <summary>
    /// Form of the decoder blocks' matrices. Null for as the files have them, where on the CPU a GGUF file's blocks stay blocks. Default
    /// null.
    /// </summary>
    public QuantizationKind? Quantization { get; init; }

    /// <summary><c>auto</c>, <c>cpu</c>, <c>cuda</c> or <c>cuda:N</c>. Default <c>auto</c>.</summary>
    public string Device { get; init; } = "auto";
}
