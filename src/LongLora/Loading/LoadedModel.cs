using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Loading;

/// <summary>
/// A model with everything that belongs to it: network, adapter, tokenizer, chat template, and the ends of texts and answers. The only
/// way to a model; it owns what it opens.
/// </summary>
public sealed class LoadedModel : IDisposable
{
    private LoadedModel(ModelSource source, CausalLanguageModel network, AdapterSet? adapter, ChatTemplate? template) =>
        (Source, Network, Adapter, Template) = (source, network, adapter, template);

    /// <summary>Opens the folder of a Hugging Face model.</summary>
    /// <param name="model">The folder.</param>
    /// <param name="options">How; null for the model as it is.</param>
    /// <exception cref="CheckpointException">Model, adapter or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">There is no such template or device, or an option does not fit the model.</exception>
    public static LoadedModel Open(string model, LoadOptions? options = null) => Open(ModelSource.Open(model), options);

    /// <summary>Opens a model.</summary>
    /// <param name="source">Where it comes from.</param>
    /// <param name="options">How; null for the model as it is.</param>
    /// <exception cref="CheckpointException">Model, adapter or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">There is no such template or device, or an option does not fit the model.</exception>
    public static LoadedModel Open(ModelSource source, LoadOptions? options = null)
    {
        options ??= new LoadOptions();
        var template = options.Template is { } choice ? source.FindTemplate(choice) : null;
        var network = source.Build(ConfigFor(source.Config, options), Devices.Parse(options.Device), options.Quantization);
        AdapterSet? adapter = null;
        try
        {
            if (options.CudaCompute is { } compute)
                network.ComputeOnCuda(compute);
            if (options.Adapter is { } folder)
                adapter = PeftFormat.Attach(folder, network, options.AdapterReading);
            return new LoadedModel(source, network, adapter, template);
        }
        catch
        {
            adapter?.Dispose();
            network.Dispose();
            throw;
        }
    }

    // Positions are decided before there is a network: first those that the adapter was trained with, then those that were asked for.
    private static ModelConfig ConfigFor(ModelConfig config, LoadOptions options)
    {
        if (options.Adapter is { } adapter)
            config = PeftFormat.Positions(adapter, config, options.AdapterReading);
        return options.Context is { } context ? RopeScaling.Extend(config, options.RopeScaling, options.RopeFactor, context) : config;
    }

    /// <summary>Where it came from.</summary>
    public ModelSource Source { get; }

    /// <summary>The network, the adapter attached.</summary>
    public CausalLanguageModel Network { get; }

    /// <summary>The adapter; null for none.</summary>
    public AdapterSet? Adapter { get; }

    /// <summary>The architecture with the positions that the network has.</summary>
    public ModelConfig Config => Network.Config;

    /// <summary>The tokenizer; null where there is none, so that only token ids can be read.</summary>
    /// <exception cref="CheckpointException">On first use: a file of it is damaged, or a component is not supported.</exception>
    public ITokenizer? Tokenizer => Source.Tokenizer;

    /// <summary>The chat template that was asked for; null for none.</summary>
    public ChatTemplate? Template { get; }

    /// <summary>What ends the answers of a conversation.</summary>
    public AnswerEnd EndOfAnswer =>
        field ??= Template is { } template && Tokenizer is { } tokenizer ? template.FindEndOfAnswer(tokenizer) : AnswerEnd.None;

    /// <summary>Tokens that end every text, answers too.</summary>
    public IReadOnlyList<int> EndTokens => field ??= TextEnds.Tokens(Config, Tokenizer);

    /// <summary>The token between two documents; null where there is none.</summary>
    public int? Separator => TextEnds.Separator(Config, Tokenizer);

    /// <summary>The model's folder, of which exports take the config's text and the tokenizer's files.</summary>
    /// <exception cref="ConfigurationException">The model did not come from a folder.</exception>
    public CheckpointDirectory Files =>
        Source.Files
        ?? throw new ConfigurationException(
            $"Cannot take config and tokenizer files of '{Source.Location}' because it is not the folder of a Hugging Face model. Open a "
                + "folder."
        );

    /// <summary>Takes the adapter off and frees the network with its files.</summary>
    public void Dispose()
    {
        Adapter?.Dispose();
        Network.Dispose();
    }
}
