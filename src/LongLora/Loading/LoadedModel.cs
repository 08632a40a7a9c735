using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Loading;

/// <summary>
/// A model with everything that belongs to it: network, adapter, tokenizer, chat template, and what ends texts and answers. This is the
/// only way to a model. It owns everything that it opens.
/// </summary>
public sealed class LoadedModel : IDisposable
{
    private LoadedModel(ModelSource source, CausalLanguageModel network, AdapterSet? adapter, ChatTemplate? template) =>
        (Source, Network, Adapter, Template) = (source, network, adapter, template);

    /// <summary>Opens the folder of a Hugging Face model, a GGUF file, or a model that is named in the store of another program.</summary>
    /// <param name="model">The folder, the file or the name, as for <see cref="ModelSource.Open"/>.</param>
    /// <param name="options">How to open it; null for the model as it is.</param>
    /// <exception cref="CheckpointException">Model, adapter or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">There is no such template or device, or an option does not fit the model.</exception>
    public static LoadedModel Open(string model, LoadOptions? options = null) => Open(ModelSource.Open(model), options);

    /// <summary>Opens a model.</summary>
    /// <param name="source">Where it comes from.</param>
    /// <param name="options">How to open it; null for the model as it is.</param>
    /// <exception cref="CheckpointException">Model, adapter or template is missing, damaged or not supported.</exception>
    /// <exception cref="ConfigurationException">There is no such template or device, or an option does not fit the model.</exception>
    public static LoadedModel Open(ModelSource source, LoadOptions? options = null)
    {
        options ??= new LoadOptions();
        options.Validate();
        if (options.Adapter is { } saved)
            Checksums.Verify(saved);
        var template = options.Template is { } choice ? source.FindTemplate(choice) : null;
        var device = Devices.Parse(options.Device);
        var network = source.Build(
            DecideConfig(source.Config, options),
            device,
            options.Quantization ?? source.ChooseQuantization(device),
            options.DividedAmong
        );
        AdapterSet? adapter = null;
        try
        {
            if (options.Compute is { } compute)
                network.ComputeIn(
                    PrecisionChoice.Resolve(compute, network.Device.type, Math.Max(0, network.Device.index), source.StoredType)
                );
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

    // Positions are decided before the network is built: first those of the adapter's training, then those for the wanted context.
    internal static ModelConfig DecideConfig(ModelConfig config, LoadOptions options)
    {
        if (options.Adapter is { } adapter)
            config = PeftFormat.Positions(adapter, config, options.AdapterReading);
        return options.Context is { } context ? RopeScaling.Extend(config, options.RopeScaling, options.RopeFactor, context) : config;
    }

    /// <summary>Where it came from.</summary>
    public ModelSource Source { get; }

    /// <summary>The network, with the adapter attached.</summary>
    public CausalLanguageModel Network { get; }

    /// <summary>The adapter; null for none.</summary>
    public AdapterSet? Adapter { get; }

    /// <summary>The architecture, with the positions of the network.</summary>
    public ModelConfig Config => Network.Config;

    /// <summary>The tokenizer, read on first use; null if there is none, so the model can only read token ids.</summary>
    /// <exception cref="CheckpointException">One of its files is damaged, or a component is not supported.</exception>
    public ITokenizer? Tokenizer => Source.Tokenizer;

    /// <summary>The chat template that the options ask for; null for none.</summary>
    public ChatTemplate? Template { get; }

    /// <summary>What ends the answers of a conversation.</summary>
    internal AnswerEnd EndOfAnswer =>
        field ??= Template is { } template && Tokenizer is { } tokenizer ? template.FindEndOfAnswer(tokenizer) : AnswerEnd.None;

    /// <summary>Tokens that end any text, including answers.</summary>
    public IReadOnlyList<int> EndTokens => field ??= [.. TextEnds.FindTokens(Config, Tokenizer).Union(Source.FurtherEnds)];

    /// <summary>The token between two documents; null if there is none.</summary>
    public int? Separator => TextEnds.FindSeparator(Config, Tokenizer);

    /// <summary>The stored model, from which exports copy the config's text and the tokenizer's files.</summary>
    /// <exception cref="ConfigurationException">The model does not come from files.</exception>
    internal IModelFiles Files => Source.RequireFiles();

    /// <summary>Removes the adapter, frees the network and closes its files.</summary>
    public void Dispose()
    {
        Adapter?.Dispose();
        Network.Dispose();
    }
}
