using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

/// <summary>
/// The trained part of a model: LoRA matrices attached to its linear layers, and weights of the model that are trained with them
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

    /// <summary>The options that it was created with.</summary>
    public AdapterOptions Options { get; }

    /// <summary>LoRA pairs by the name of their layer.</summary>
    internal IReadOnlyDictionary<string, LoraAdapter> Adapters => Parts.Pairs;

    /// <summary>Trained weights of the model itself: its embeddings, norms, or everything.</summary>
    internal IReadOnlyList<Weight> ModelWeights => Parts.ModelWeights;

    /// <summary>All trained weights: those of the model, then A, B and related weights layer by layer, then those of tokens.</summary>
    public IReadOnlyList<Weight> Weights { get; }

    /// <summary>
    /// Parts that the adapter's config names but its files lack; the base's are used instead (<see cref="AdapterReading.AllowMissing"/>).
    /// </summary>
    public IReadOnlyList<string> Missing => Parts.Missing;

    /// <summary>Whether linear positions were assumed, because neither the files nor the reader say how they were rescaled.</summary>
    internal bool AssumesLinear => Parts.AssumesLinear;

    /// <summary>
    /// Attaches new LoRA matrices: A uniform in ±1/sqrt(I) (PEFT's Kaiming rule), B zero. With PiSSA both start from the principal part of
    /// the layer's matrix; with DoRA magnitudes start at the norms of its rows. Trained weights of the model become private fp32 copies,
    /// because optimizer steps of 2e-5 would vanish in 16 bits.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="options">What is trained.</param>
    /// <param name="seed">The same seed gives the same matrices.</param>
    /// <exception cref="ConfigurationException">
    /// An option is out of its range, or a target is not a linear layer of the model, or is too small for the rank.
    /// </exception>
    public static AdapterSet Attach(CausalLanguageModel model, AdapterOptions options, long seed)
    {
        OptionProblems.ThrowIfAny(options.Check);
        var adapters = new Dictionary<string, LoraAdapter>();
        options = options with { TargetModules = Resolve(model, options.TargetModules) };
        if (!options.TrainEverything && options.Rank > 0)
        {
            using var generator = new Generator((ulong)seed, CPU);
            foreach (var layer in Targets(model, options.TargetModules))
            {
                // PiSSA and DoRA begin with the matrix. All ranks come to the same layers.
                using var lent = options.Kind == AdapterKind.Lora ? null : model.Divided?.Lend(layer.Projection);
                adapters.Add(layer.Name, NewAdapter(layer, options, generator, seed + adapters.Count, model.Device));
            }
        }
        return new AdapterSet(model, options, new() { Pairs = adapters, ModelWeights = TrainedModelWeights(model, options) });
    }

    /// <summary>Attaches existing parts, such as those of a file. Its model weights have already replaced the model's own.</summary>
    internal static AdapterSet Attach(CausalLanguageModel model, AdapterOptions options, AdapterParts parts) => new(model, options, parts);

    /// <summary>The linear layers, including a tied head.</summary>
    internal static IEnumerable<LinearLayer> ListLayers(CausalLanguageModel model) =>
        model.Config.TiedEmbeddings ? model.Linears.Append(model.Head) : model.Linears;

    /// <summary>Checks that the adapter has nothing but LoRA matrices, for formats that can hold nothing else.</summary>
    /// <param name="format">The format, as it follows "Cannot write".</param>
    /// <param name="isFolded">Whether what changes the token table or a head is written elsewhere.</param>
    /// <exception cref="ConfigurationException">The adapter has other parts; the message names them.</exception>
    internal void RequirePlainLora(string format, bool isFolded = false)
    {
        var beyond =
            Parts.Pairs.Values.Any(p => p is DoraAdapter) ? "magnitudes (DoRA)"
            : Parts.Pairs.Values.Any(p => p.Bias is not null) ? "biases (lora_bias)"
            : Parts.Experts.Count > 0 ? "LoRA on experts (target_parameters)"
            : isFolded ? null
            : Parts.Table is not null ? "LoRA on the embeddings"
            : Parts.TableRows is not null || Parts.HeadRows is not null ? "trained rows of single tokens (trainable_token_indices)"
            : null;
        if (beyond is not null)
            throw new ConfigurationException(
                $"Cannot write {format} because it can hold only LoRA matrices, but this adapter has {beyond}. Export the merged "
                    + "model instead."
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
                    $"target-modules has '{target}', but the model's linear layers are {string.Join(", ", names)}. "
                        + $"'{AdapterOptions.AttentionLayers}' stands for "
                        + $"{string.Join(", ", Resolve(model, [AdapterOptions.AttentionLayers]))}, and '{AdapterOptions.AllLayers}' for "
                        + $"{string.Join(", ", Resolve(model, [AdapterOptions.AllLayers]))}."
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
                $"rank is {options.Rank}, but '{layer.Name}' is [{layer.OutputSize}, {layer.InputSize}], which has fewer singular "
                    + "vectors. Use a lower rank, or other target-modules."
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
                "Cannot train all weights because the model's matrices are quantized. Use LoRA, or load the model in full precision."
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

    /// <summary>Detaches the LoRA matrices from the model and frees them. Trained weights of the model stay as they are.</summary>
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
