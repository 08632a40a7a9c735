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

    private AdapterSet(CausalLanguageModel model, AdapterOptions options, AdapterParts parts)
    {
        (_model, Options, Parts) = (model, options, parts);
        foreach (var layer in ListLayers(model))
            layer.Update = parts.Pairs.GetValueOrDefault(layer.Name);
        foreach (var (layer, update) in parts.Experts.SelectMany(e => e.MakeUpdates()))
            layer.Update = update;
        model.Embedding.Update = (IEmbeddingUpdate?)parts.Table ?? parts.TableRows;
        if (model.Config.TiedEmbeddings && (parts.TableServesHead || parts.TableRows is not null))
            model.Head.Update = model.Embedding.Update!.ForTiedHead;
        else if (parts.HeadRows is not null)
            model.Head.Update = parts.HeadRows;
        Weights =
        [
            .. parts.ModelWeights,
            .. ListLayers(model).SelectMany(l => parts.Pairs.TryGetValue(l.Name, out var adapter) ? adapter.Weights : []),
            .. parts.Experts.SelectMany(e => e.Weights),
            .. parts.Table is { } table ? [table.A, table.B] : Array.Empty<Weight>(),
            .. new[] { parts.TableRows, parts.HeadRows }.OfType<TokenRows>().Select(r => r.Rows),
        ];
    }

    internal AdapterParts Parts { get; }

    /// <summary>How it was made.</summary>
    public AdapterOptions Options { get; }

    /// <summary>LoRA pairs by the name of their layer.</summary>
    internal IReadOnlyDictionary<string, LoraAdapter> Adapters => Parts.Pairs;

    /// <summary>Trained weights of the model itself: its embeddings, norms, or everything.</summary>
    internal IReadOnlyList<Weight> ModelWeights => Parts.ModelWeights;

    /// <summary>All trained weights: those of the model, then A, B and what belongs to them layer by layer, then those of tokens.</summary>
    public IReadOnlyList<Weight> Weights { get; }

    /// <summary>
    /// Parts that the adapter's config names and its files lack, so that the base's are used (<see cref="AdapterReading.AllowMissing"/>).
    /// </summary>
    public IReadOnlyList<string> Missing => Parts.Missing;

    /// <summary>
    /// Attaches new LoRA matrices: A uniform in ±1/sqrt(I) (PEFT's Kaiming rule), B zero; with PiSSA both at the principal part of the
    /// layer's matrix, with DoRA magnitudes at the norms of its rows. Trained weights of the model become private fp32 copies, since
    /// optimizer steps of 2e-5 vanish in 16 bits.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="options">What is trained.</param>
    /// <param name="seed">The same seed gives the same matrices.</param>
    /// <exception cref="ConfigurationException">
    /// A target is not among the model's linear layers, or too small for the rank.
    /// </exception>
    public static AdapterSet Attach(CausalLanguageModel model, AdapterOptions options, long seed)
    {
        var adapters = new Dictionary<string, LoraAdapter>();
        options = options with { TargetModules = Resolve(model, options.TargetModules) };
        if (!options.TrainEverything && options.Rank > 0)
        {
            using var generator = new Generator((ulong)seed, CPU);
            foreach (var layer in Targets(model, options.TargetModules))
                adapters.Add(layer.Name, NewAdapter(layer, options, generator, seed + adapters.Count, model.Device));
        }
        return new AdapterSet(model, options, new() { Pairs = adapters, ModelWeights = TrainedModelWeights(model, options) });
    }

    /// <summary>Attaches parts that exist, such as those of a file; its model weights have replaced the model's own.</summary>
    internal static AdapterSet Attach(CausalLanguageModel model, AdapterOptions options, AdapterParts parts) => new(model, options, parts);

    /// <summary>The linear layers, a tied head among them.</summary>
    internal static IEnumerable<LinearLayer> ListLayers(CausalLanguageModel model) =>
        model.Config.TiedEmbeddings ? model.Linears.Append(model.Head) : model.Linears;

    /// <summary>Refuses what a format cannot hold that knows LoRA matrices alone.</summary>
    /// <param name="format">The format, as the beginning of a sentence.</param>
    /// <param name="isFolded">Whether what changes the token table or a head is written elsewhere.</param>
    /// <exception cref="ConfigurationException">Names what there is beyond A and B.</exception>
    internal void RequirePlainLora(string format, bool isFolded = false)
    {
        var beyond =
            Parts.Pairs.Values.Any(p => p is DoraAdapter) ? "magnitudes (DoRA)"
            : Parts.Pairs.Values.Any(p => p.Bias is not null) ? "biases (lora_bias)"
            : Parts.Experts.Count > 0 ? "LoRA on experts (target_parameters)"
            : isFolded ? null
            : Parts.Table is not null ? "LoRA on the embeddings"
            : Parts.TableRows is not null || Parts.HeadRows is not null ? "rows of single tokens (trainable_token_indices)"
            : null;
        if (beyond is not null)
            throw new ConfigurationException(
                $"{format} holds LoRA matrices alone, and this adapter has {beyond}. Export the merged model."
            );
    }

    /// <summary>The layers whose names end in one of the targets, or equal it.</summary>
    internal static IReadOnlyList<LinearLayer> Targets(CausalLanguageModel model, IReadOnlyList<string> targets)
    {
        targets = Resolve(model, targets);
        foreach (var target in targets)
        {
            if (!model.Linears.Any(l => PeftModules.IsNamed(l.Name, target)))
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
        return [.. model.Linears.Where(l => targets.Any(t => PeftModules.IsNamed(l.Name, t)))];
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

    private static LoraAdapter NewAdapter(LinearLayer layer, AdapterOptions options, Generator generator, long seed, Device device)
    {
        using var scope = NewDisposeScope();
        Weight Named(string part, Tensor value) => new(layer.Name + part, value);
        if (options.Kind == AdapterKind.Pissa)
        {
            var (initialA, initialB) = PrincipalPart(layer, options, seed);
            return new ResidualLoraAdapter(
                Named(".lora_A.weight", initialA.clone()),
                Named(".lora_B.weight", initialB.clone()),
                initialA,
                initialB,
                options.Alpha,
                options.RankStabilized
            );
        }
        var bound = 1 / Math.Sqrt(layer.InputSize);
        var a = Named(
            ".lora_A.weight",
            rand([options.Rank, layer.InputSize], generator: generator).mul_(Scalars.Of(2 * bound)).sub_(Scalars.Of(bound)).to(device)
        );
        var b = Named(".lora_B.weight", zeros([layer.OutputSize, options.Rank], device: device));
        if (options.Kind == AdapterKind.Lora)
            return new LoraAdapter(a, b, options.Alpha, options.RankStabilized);
        var norms = DoraAdapter.ComputeRowSquares(layer.Projection).sqrt_().to(ScalarType.Float32);
        return new DoraAdapter(a, b, Named(DoraAdapter.MagnitudeSuffix, norms), options.Alpha, options.RankStabilized);
    }

    private static (Tensor A, Tensor B) PrincipalPart(LinearLayer layer, AdapterOptions options, long seed)
    {
        if (options.Rank > Math.Min(layer.InputSize, layer.OutputSize))
            throw new ConfigurationException(
                $"rank is {options.Rank}, but '{layer.Name}' is [{layer.OutputSize}, {layer.InputSize}], and PiSSA takes its singular "
                    + "vectors. Take a lower rank, or other target-modules."
            );
        return LoraStart.Pissa(
            layer.Projection.ToDense(),
            options.Rank,
            LoraAdapter.ComputeScale(options.Alpha, options.Rank, options.RankStabilized),
            options.PissaIterations,
            seed
        );
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
        foreach (var layer in ListLayers(_model))
        {
            if (Parts.Pairs.ContainsKey(layer.Name) || (Parts.HeadRows is { } rows && ReferenceEquals(layer.Update, rows)))
                layer.Update = null;
        }
        if (((IEmbeddingUpdate?)Parts.Table ?? Parts.TableRows) is { } own && ReferenceEquals(_model.Embedding.Update, own))
        {
            if (ReferenceEquals(_model.Head.Update, own.ForTiedHead))
                _model.Head.Update = null;
            _model.Embedding.Update = null;
        }
        foreach (var (layer, _) in Parts.Experts.SelectMany(e => e.Parameter.Experts).SelectMany(e => e))
            layer.Update = null;
        foreach (var adapter in Parts.Pairs.Values)
            adapter.Dispose();
        foreach (var weight in Parts.Experts.SelectMany(e => e.Weights))
            weight.Dispose();
        Parts.Table?.A.Dispose();
        Parts.Table?.B.Dispose();
        Parts.TableRows?.Dispose();
        Parts.HeadRows?.Dispose();
    }
}
