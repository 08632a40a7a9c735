using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Loading;

/// <summary>
/// Where a model comes from, and what is known about it before its weights are read: config, tokenizer, chat template.
/// <see cref="LoadedModel.Open(ModelSource, LoadOptions?)"/> makes models from it, as many as needed. Each kind of source is one class in
/// this folder.
/// </summary>
public abstract class ModelSource
{
    private readonly Lazy<ITokenizer?> _tokenizer;

    /// <summary>A source of a further kind.</summary>
    private protected ModelSource() => _tokenizer = new Lazy<ITokenizer?>(ReadTokenizer);

    /// <summary>
    /// Finds the source that a text names: the folder of a Hugging Face model, a GGUF file, or a name in the store of another program.
    /// Reads only headers, and asks no network.
    /// </summary>
    /// <param name="model">
    /// The folder or the file; <c>org/name</c>, <c>org/name@revision</c> or <c>org/name:FILE.gguf</c> in the Hugging Face cache;
    /// <c>ollama:name</c> or <c>ollama:name:tag</c> in Ollama's store.
    /// </param>
    /// <exception cref="CheckpointException">
    /// It is not a model or not on this machine, or a file is missing, damaged or not supported. The message says what to do.
    /// </exception>
    public static ModelSource Open(string model)
    {
        var found = ModelLocation.Find(model);
        return GgufModel.IsNamed(found.Path)
            ? new GgufSource(found.Path, found.Name) { Reference = found.Reference }
            : new FolderSource(found.Path, found.Name) { Reference = found.Reference };
    }

    /// <summary>Opens the tokenizer of a model, or of a folder that has nothing but a tokenizer.</summary>
    /// <param name="model">What <see cref="Open"/> takes, or the folder of a tokenizer.</param>
    /// <exception cref="CheckpointException">There is no tokenizer, or one of its files is damaged or not supported.</exception>
    internal static ITokenizer OpenTokenizer(string model)
    {
        var path = ModelLocation.Find(model).Path;
        return Directory.Exists(path) ? FolderSource.LoadTokenizer(path) : Open(model).RequireTokenizer();
    }

    /// <summary>Makes the source of a new model with random weights.</summary>
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

    /// <summary>What other files call the model: its name where it has one, or else where it is.</summary>
    internal string Reference
    {
        get => field ?? Location;
        init;
    }

    /// <summary>The architecture, with the positions of the model itself.</summary>
    public abstract ModelConfig Config { get; }

    /// <summary>The stored model, from which exports copy the config's text and the tokenizer's files; null if there is none.</summary>
    internal virtual IModelFiles? Files => null;

    /// <summary>The type in which its matrices are stored.</summary>
    internal virtual ScalarType StoredType => RequireFiles().FindMainType();

    /// <summary>The tokenizer, read on first use; null if there is none, so the model can only read token ids.</summary>
    /// <exception cref="CheckpointException">One of its files is damaged, or a component is not supported.</exception>
    public ITokenizer? Tokenizer => _tokenizer.Value;

    /// <summary>The token between two documents: the EOS of the tokenizer, or else of the config; null if there is none.</summary>
    public int? Separator => TextEnds.FindSeparator(Config, Tokenizer);

    /// <summary>The tokenizer, if the caller cannot work without it.</summary>
    /// <exception cref="CheckpointException">There is none; the message says what to do.</exception>
    public ITokenizer RequireTokenizer() =>
        Tokenizer
        ?? throw new CheckpointException(
            $"'{Location}' has no tokenizer: neither tokenizer.json nor tokenizer.model. Copy the one that the model was trained with "
                + "into the folder."
        );

    /// <summary>The stored model, if the caller cannot work without it.</summary>
    /// <exception cref="ConfigurationException">The model does not come from files.</exception>
    internal IModelFiles RequireFiles() =>
        Files
        ?? throw new ConfigurationException(
            $"Cannot take the config and the tokenizer's files from '{Location}' because it is not a stored model. Use the folder of a "
                + "Hugging Face model or a GGUF file."
        );

    /// <summary>Finds a chat template.</summary>
    /// <param name="choice"><c>auto</c> for the model's own template, one of <see cref="ChatTemplate.Names"/>, or a file.</param>
    /// <returns>The template; null if the choice is <c>auto</c> and the model has none.</returns>
    /// <exception cref="ConfigurationException">There is no template with that name.</exception>
    /// <exception cref="CheckpointException">It uses an unsupported feature; the message names it.</exception>
    public ChatTemplate? FindTemplate(string choice) => choice == "auto" ? ReadTemplate() : ChatTemplate.Find(choice, Location);

    /// <summary>The files that decide how text becomes tokens: those of the tokenizer, and the chat template.</summary>
    internal abstract IReadOnlyList<string> TextFiles { get; }

    /// <summary>What decides it besides these files, as a hash; null if there is nothing.</summary>
    internal virtual string? TextDigest => null;

    /// <summary>Tokens that end any text besides those of config and tokenizer.</summary>
    internal virtual IReadOnlyList<int> FurtherEnds => [];

    /// <summary>Reads the tokenizer; null if there is none.</summary>
    private protected abstract ITokenizer? ReadTokenizer();

    /// <summary>Reads the model's own chat template; null if it has none.</summary>
    private protected abstract ChatTemplate? ReadTemplate();

    /// <summary>The form of the matrices that suits a model that only computes.</summary>
    internal virtual QuantizationKind ChooseQuantization(Device device) => QuantizationKind.None;

    /// <summary>Makes a network, which owns the files that it was made from.</summary>
    /// <param name="config"><see cref="Config"/>, or the same with other positions.</param>
    /// <param name="device">Where it lives.</param>
    /// <param name="quantization">Form of the matrices in the decoder blocks.</param>
    /// <param name="among">Ranks that divide these matrices; null to have them whole.</param>
    internal abstract CausalLanguageModel Build(
        ModelConfig config,
        Device device,
        QuantizationKind quantization,
        ICommunicator? among = null
    );

    /// <summary>The files in a folder that decide how text becomes tokens.</summary>
    private protected static IReadOnlyList<string> ListTextFiles(string folder) =>
        [
            .. Directory
                .EnumerateFiles(folder)
                .Where(file =>
                    Path.GetFileName(file) is var name
                    && (name.Contains("token", StringComparison.Ordinal) || name.StartsWith("chat_template", StringComparison.Ordinal))
                )
                .Order(StringComparer.Ordinal),
        ];
}
