using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Loading;

/// <summary>
/// Where a model comes from, and what is known about it before its weights are read: config, tokenizer, chat template.
/// <see cref="LoadedModel.Open(ModelSource, LoadOptions?)"/> makes a model of it, as often as asked. Each kind of source is one class here.
/// </summary>
public abstract class ModelSource
{
    /// <summary>The source that a text names: the folder of a Hugging Face model. Its headers are read, and nothing else.</summary>
    /// <param name="model">The folder.</param>
    /// <exception cref="CheckpointException">It is no model folder, or a file in it is damaged or not supported.</exception>
    public static ModelSource Open(string model) => new FolderSource(model);

    /// <summary>A new model with random weights.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="seed">The same seed gives the same weights.</param>
    /// <param name="type">The type of the weights. Default float32.</param>
    /// <param name="tokenizer">A folder with a tokenizer, and perhaps a chat template; null for none.</param>
    public static ModelSource Create(ModelConfig config, long seed, ScalarType type = ScalarType.Float32, string? tokenizer = null) =>
        new NewSource(config, seed, type, tokenizer);

    /// <summary>A short name for people.</summary>
    public abstract string Name { get; }

    /// <summary>Where the model is, for messages.</summary>
    public abstract string Location { get; }

    /// <summary>The architecture, with the positions that the model has by itself.</summary>
    public abstract ModelConfig Config { get; }

    /// <summary>The model's folder, of which exports take the config's text and the tokenizer's files; null for a source that has none.</summary>
    public virtual CheckpointDirectory? Files => null;

    /// <summary>The tokenizer, opened on first use; null where there is none, so that only token ids can be read.</summary>
    /// <exception cref="CheckpointException">A file of it is damaged, or a component is not supported.</exception>
    public ITokenizer? Tokenizer
    {
        get
        {
            if (!_isTokenizerRead)
                (_tokenizer, _isTokenizerRead) = (TextFolder is { } folder ? TokenizerLoader.LoadIfPresent(folder) : null, true);
            return _tokenizer;
        }
    }

    private ITokenizer? _tokenizer;
    private bool _isTokenizerRead;

    /// <summary>The token between two documents, and none where examples bring their own ends: the tokenizer's EOS, else the config's.</summary>
    public int? Separator => TextEnds.Separator(Config, Tokenizer);

    /// <summary>The tokenizer, which must be there.</summary>
    /// <exception cref="CheckpointException">There is none; the message says what to do.</exception>
    public ITokenizer RequireTokenizer() =>
        Tokenizer
        ?? throw new CheckpointException(
            $"'{Location}' has no tokenizer: neither tokenizer.json nor tokenizer.model. Copy the one that the model was trained with "
                + "into the folder."
        );

    /// <summary>A chat template.</summary>
    /// <param name="choice"><c>auto</c> for the model's own, one of <see cref="ChatTemplate.Names"/>, or a file.</param>
    /// <returns>The template; null where the choice is <c>auto</c> and the model has none.</returns>
    /// <exception cref="ConfigurationException">There is none of that name.</exception>
    /// <exception cref="CheckpointException">It uses what is not supported; the message names it.</exception>
    public ChatTemplate? FindTemplate(string choice) =>
        choice != "auto" ? ChatTemplate.Find(choice, TextFolder ?? "")
        : TextFolder is { } folder ? ChatTemplate.OfModel(folder)
        : null;

    /// <summary>The files that tokens depend on: those of the tokenizer, and the chat template.</summary>
    internal IReadOnlyList<string> TextFiles =>
        TextFolder is not { } folder
            ? []
            :
            [
                .. Directory
                    .EnumerateFiles(folder)
                    .Where(file =>
                        Path.GetFileName(file) is var name
                        && (name.Contains("token", StringComparison.Ordinal) || name.StartsWith("chat_template", StringComparison.Ordinal))
                    )
                    .Order(StringComparer.Ordinal),
            ];

    /// <summary>The folder with tokenizer and chat template; null where there is none.</summary>
    private protected abstract string? TextFolder { get; }

    /// <summary>Makes the network; it owns what it was made of.</summary>
    /// <param name="config"><see cref="Config"/>, or the same with other positions.</param>
    /// <param name="device">Where it lives.</param>
    /// <param name="quantization">Form of the decoder blocks' matrices.</param>
    internal abstract CausalLanguageModel Build(ModelConfig config, Device device, QuantizationKind quantization);
}
