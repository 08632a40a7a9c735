using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

/// <summary>
/// The trained part of a model: LoRA matrices attached to its linear layers, and weights of the model itself that are trained with them
/// (LoRA+: embeddings and norms, LongLoRA section 3.3).
/// </summary>
public sealed class AdapterSet : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly Dictionary<string, LoraAdapter> _adapters;

    private AdapterSet(
        CausalLanguageModel model,
        AdapterOptions options,
        Dictionary<string, LoraAdapter> adapters,
        IReadOnlyList<Weight> modelWeights
    )
    {
        (_model, Options, _adapters, ModelWeights) = (model, options, adapters, modelWeights);
        foreach (var layer in model.Linears)
            layer.Update = adapters.GetValueOrDefault(layer.Name);
        Weights =
        [
            .. modelWeights,
            .. model.Linears.SelectMany(l =>
                adapters.TryGetValue(l.Name, out var adapter) ? [adapter.A, adapter.B] : Array.Empty<Weight>()
            ),
        ];
    }

    /// <summary>How it was made.</summary>
    public AdapterOptions Options { get; }

    /// <summary>LoRA pairs by the name of their layer.</summary>
    public IReadOnlyDictionary<string, LoraAdapter> Adapters => _adapters;

    /// <summary>Trained weights of the model itself: its embeddings, norms, or everything.</summary>
    public IReadOnlyList<Weight> ModelWeights { get; }

    /// <summary>All trained weights: those of the model, then A and B layer by layer.</summary>
    public IReadOnlyList<Weight> Weights { get; }

    /// <summary>
    /// Attaches new LoRA matrices: A uniform in ±1/sqrt(I) (PEFT's Kaiming rule), B zero. Trained weights of the model become private fp32
    /// copies, since optimizer steps of 2e-5 vanish in 16 bits.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="options">What is trained.</param>
    /// <param name="seed">The same seed gives the same matrices.</param>
    /// <exception cref="ConfigurationException">A target is not among the model's linear layers.</exception>
    public static AdapterSet Attach(CausalLanguageModel model, AdapterOptions options, long seed)
    {
        var adapters = new Dictionary<string, LoraAdapter>();
        options = options with { TargetModules = Resolve(model, options.TargetModules) };
        if (!options.TrainEverything && options.Rank > 0)
        {
            using var generator = new Generator((ulong)seed, CPU);
            foreach (var layer in Targets(model, options.TargetModules))
                adapters.Add(layer.Name, NewAdapter(layer, options, generator, model.Device));
        }
        return new AdapterSet(model, options, adapters, TrainedModelWeights(model, options));
    }

    /// <summary>Attaches LoRA matrices that exist, such as those of a file; the given model weights replace the model's own.</summary>
    internal static AdapterSet Attach(
        CausalLanguageModel model,
        AdapterOptions options,
        Dictionary<string, LoraAdapter> adapters,
        IReadOnlyList<Weight> modelWeights
    ) => new(model, options, adapters, modelWeights);

    /// <summary>The layers whose names end in one of the targets, or equal it.</summary>
    internal static IReadOnlyList<LinearLayer> Targets(CausalLanguageModel model, IReadOnlyList<string> targets)
    {
        static bool Matches(string name, string target) => name == target || name.EndsWith("." + target, StringComparison.Ordinal);
        targets = Resolve(model, targets);
        foreach (var target in targets)
        {
            if (!model.Linears.Any(l => Matches(l.Name, target)))
            {
                var names = model.Linears.Select(LastPart).Distinct();
                throw new ConfigurationException(
                    $"target-modules has '{target}', but the model's linear layers are called {string.Join(", ", names)}; "
                        + $"'{AdapterOptions.AttentionLayers}' stands for "
                        + $"{string.Join(", ", Resolve(model, [AdapterOptions.AttentionLayers]))}, "
                        + $"'{AdapterOptions.AllLayers}' for {string.Join(", ", Resolve(model, [AdapterOptions.AllLayers]))}."
                );
            }
        }
        return [.. model.Linears.Where(l => targets.Any(t => Matches(l.Name, t)))];
    }

    private static IReadOnlyList<string> Resolve(CausalLanguageModel model, IReadOnlyList<string> targets) =>
        [
            .. targets
                .SelectMany(t =>
                    t switch
                    {
                        AdapterOptions.AttentionLayers => model.Blocks.SelectMany(b => b.AttentionLayers).Select(LastPart),
                        AdapterOptions.AllLayers => model.Linears.Where(l => l != model.Head).Select(LastPart),
                        _ => [t],
                    }
                )
                .Distinct(),
        ];

    private static string LastPart(LinearLayer layer) => layer.Name[(layer.Name.LastIndexOf('.') + 1)..];

    private static LoraAdapter NewAdapter(LinearLayer layer, AdapterOptions options, Generator generator, Device device)
    {
        using var scope = NewDisposeScope();
        var bound = 1 / Math.Sqrt(layer.InputSize);
        var a = rand([options.Rank, layer.InputSize], generator: generator).mul_(Scalars.Of(2 * bound)).sub_(Scalars.Of(bound)).to(device);
        var b = zeros([layer.OutputSize, options.Rank], device: device);
        return new LoraAdapter(new Weight(layer.Name + ".lora_A.weight", a), new Weight(layer.Name + ".lora_B.weight", b), options.Alpha);
    }

    private static List<Weight> TrainedModelWeights(CausalLanguageModel model, AdapterOptions options)
    {
        if (options.TrainEverything && model.IsQuantized)
            throw new ConfigurationException(
                "The model's matrices are quantised and cannot be trained: full fine-tuning needs it in full precision. Use LoRA."
            );
        var norms = model.Norms.SelectMany(n => n.Weights).ToHashSet();
        bool IsTrained(Weight weight) =>
            (options.TrainEverything && !weight.IsConstant)
            || (options.TrainEmbeddings && weight == model.Embedding.Weight)
            || (options.TrainNorms && norms.Contains(weight));
        var trained = model.Weights.Where(IsTrained).ToList();
        foreach (var weight in trained)
            weight.Replace(weight.Value.to(ScalarType.Float32, copy: true));
        return trained;
    }

    /// <summary>Takes the LoRA matrices off the model and frees them. Trained weights of the model stay as they are.</summary>
    public void Dispose()
    {
        foreach (var layer in _model.Linears)
        {
            if (_adapters.ContainsKey(layer.Name))
                layer.Update = null;
        }
        foreach (var adapter in _adapters.Values)
        {
            adapter.A.Dispose();
            adapter.B.Dispose();
        }
    }
}
