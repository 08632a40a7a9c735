using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Quantization;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// Peak memory of a training run in bytes, by purpose. It is counted from the shapes that <see cref="BlockPass"/> and
/// <see cref="CheckpointedPass"/> keep in memory.
/// </summary>
/// <param name="Runtime">.NET, libtorch, code, small objects; measured once (docs/results/plan.md).</param>
/// <param name="Weights">
/// All weights as stored, or quantized. On the CPU they are pages of the mapped files. Where ranks divide the blocks' matrices: a rank's
/// part of these, two whole blocks, and the other weights.
/// </param>
/// <param name="Trained">fp32 values of what is trained.</param>
/// <param name="Gradients">fp32.</param>
/// <param name="Optimizer">AdamW's two moments, fp32, and the exact sum of gradients, int64, or a rank's part of them.</param>
/// <param name="Checkpoints">
/// What the forward pass keeps for the backward pass; if it is offloaded, only the part in use.
/// </param>
/// <param name="Hidden">Hidden states, which are overwritten with their gradient; token ids; rotary tables.</param>
/// <param name="Attention">
/// Queries, keys, values and gradients of the heads that are processed at once; the gradient of the norm's output; the kernel's results.
/// </param>
/// <param name="Loss">Logits of one chunk.</param>
/// <param name="Workspace">Tiles of the MLP, and matrices expanded for use.</param>
/// <param name="Offloaded">Offloaded to disk or host memory; not part of the peak.</param>
public sealed record StepMemory(
    long Runtime,
    long Weights,
    long Trained,
    long Gradients,
    long Optimizer,
    long Checkpoints,
    long Hidden,
    long Attention,
    long Loss,
    long Workspace,
    long Offloaded
)
{
    // On the CPU: resident memory while a tiny model trains. On CUDA: the context and the libraries' workspaces, which we have not
    // measured.
    private const long CpuRuntime = 215L << 20,
        CudaRuntime = 900L << 20;

    /// <summary>Memory of a step in addition to the model, gradients and optimizer state.</summary>
    public long Step => Checkpoints + Kept + Hidden + Attention + Loss + Workspace;

    /// <summary>What the forward pass keeps besides, so that the backward pass need not compute it again.</summary>
    public long Kept { get; init; }

    /// <summary>
    /// Freed blocks that the allocator keeps, and code that only some steps need: on the CPU the most by which measured peaks exceeded the
    /// other parts together, with some room, so that a plan errs upwards (docs/results/plan.md).
    /// </summary>
    public long Allowance { get; init; }

    /// <summary>Everything at its peak.</summary>
    public long Peak => Runtime + Weights + Trained + Gradients + Optimizer + Step + Allowance;

    /// <summary>Names and bytes of the parts, in display order.</summary>
    public IReadOnlyList<(string Name, long Bytes)> Parts =>
        [
            ("runtime", Runtime),
            ("weights", Weights),
            ("trained weights, fp32", Trained),
            ("gradients", Gradients),
            ("optimizer state", Optimizer),
            ("activation checkpoints", Checkpoints),
            ("kept activations", Kept),
            ("hidden states", Hidden),
            ("attention", Attention),
            ("loss", Loss),
            ("workspace", Workspace),
            ("kept by the allocator", Allowance),
        ];

    /// <summary>Counts a run.</summary>
    /// <param name="config">The architecture; nothing is allocated.</param>
    /// <param name="attention">The attention in training.</param>
    /// <param name="length">L.</param>
    /// <param name="options">The rest.</param>
    internal static StepMemory Count(ModelConfig config, IAttention attention, int length, StepMemoryOptions options)
    {
        using var model = ModelLoader.Describe(config);
        return Count(model, attention, length, options);
    }

    /// <summary>Counts a run for a model made by <see cref="ModelLoader.Describe"/>.</summary>
    internal static StepMemory Count(CausalLanguageModel model, IAttention attention, int length, StepMemoryOptions options)
    {
        var config = model.Config;
        var plan = DivideTexts(attention, length, options);
        long tokens = CountTokens(plan, length, options),
            size = options.ComputeType.ElementSize(),
            width = config.HiddenSize;
        var (weights, trained) = CountWeights(model, options);
        var (kept, offloaded) = CountKept(config, tokens, size, options);
        var hidden =
            tokens * width * size
            + (long)options.BatchSize * length * IdBytes
            + Math.Min(length, tokens) * config.HeadSize * 4
            + CountSide(config, tokens, size);
        var counted = new StepMemory(
            options.Cuda ? CudaRuntime : CpuRuntime,
            weights,
            trained,
            trained,
            CountOptimizer(trained / sizeof(float), options),
            kept,
            hidden,
            CountAttention(model, attention, length, plan, size, options),
            CountLoss(model, tokens, size, options),
            CountWorkspace(model, tokens, size, options),
            offloaded
        );
        if (!options.Cuda) // kept activations are mapped apart, whole
            counted = counted with { Allowance = (long)(AllowanceShare * (counted.Peak - counted.Weights)) };
        return counted with { Kept = PlanKept(model, tokens, options).Bytes };
    }

    /// <summary>What a step keeps besides its checkpoints, on the rank with the most tokens.</summary>
    internal static ActivationPlan PlanKept(CausalLanguageModel model, IAttention attention, int length, StepMemoryOptions options) =>
        PlanKept(model, CountTokens(DivideTexts(attention, length, options), length, options), options);

    private static SequencePlan? DivideTexts(IAttention attention, int length, StepMemoryOptions options) =>
        options.SequenceParallel == 1
            ? null
            : SequencePlan.Make(attention, [.. Enumerable.Repeat(new[] { length }, options.BatchSize)], options.SequenceParallel);

    private static long CountTokens(SequencePlan? plan, int length, StepMemoryOptions options) =>
        plan?.Longest ?? (long)options.BatchSize * length;

    private static ActivationPlan PlanKept(CausalLanguageModel model, long tokens, StepMemoryOptions options) =>
        ActivationPlan.Make(
            model,
            tokens,
            options.ActivationMemory,
            options.BlocksPerSegment,
            options.Cuda,
            options.ComputeType.ElementSize()
        );

    private const double AllowanceShare = 0.14;

    // Ids and targets as tensors and as the arrays that they are made from, 8 bytes each.
    private const long IdBytes = 32;

    private static (long All, long Trained) CountWeights(CausalLanguageModel model, StepMemoryOptions options)
    {
        var tuning = options.Tuning;
        var norms = model.Norms.SelectMany(n => n.Weights).ToHashSet();
        bool IsTrained(Layers.Weight weight) =>
            (tuning.TrainEverything && !weight.IsConstant)
            || (tuning.TrainEmbeddings && weight == model.Embedding.Weight)
            || (tuning.TrainNorms && norms.Contains(weight));
        var trained = model.Weights.Where(IsTrained).Sum(w => w.ElementCount);
        var frozen = 0L;
        if (!tuning.TrainEverything && tuning.Rank > 0)
        {
            var targets = AdapterSet.Targets(model, tuning.TargetModules);
            var pairs = targets.Sum(l => tuning.Rank * (l.InputSize + l.OutputSize));
            trained += pairs + (tuning.Kind == AdapterKind.Dora ? targets.Sum(l => l.OutputSize) : 0);
            frozen = tuning.Kind == AdapterKind.Pissa ? 4 * pairs : 0; // what the matrices lost
        }
        var inBlocks = model.Linears.Where(l => l != model.Head).Sum(l => l.InputSize * l.OutputSize);
        if (options is { Quantization: QuantizationKind.Keep, KeptBytes: { } kept })
            return (kept.Matrices + kept.Others, trained * 4);
        var perWeight = GetBytesPerWeight(options);
        // Beside the pages of the file, which were read once.
        if (IsHeldInBf16(options) && options.ModelRanks == 1)
            perWeight += options.StoredType.ElementSize();
        var others = model.Weights.Sum(w => w.ElementCount) - inBlocks;
        var headIsTrained = tuning.TrainEverything || (tuning.TrainEmbeddings && model.Config.TiedEmbeddings);
        if (options is { ComputeType: ScalarType.BFloat16, Cuda: false } && options.StoredType != ScalarType.BFloat16 && !headIsTrained)
            frozen += 2 * model.Head.InputSize * model.Head.OutputSize;
        if (options.ModelRanks > 1)
        {
            var blocks = model.BlockLinears.Select(CountElements).ToList();
            inBlocks += (blocks.Sum() + options.ModelRanks - 1) / options.ModelRanks + 2 * blocks.Max() - blocks.Sum();
        }
        return ((long)(inBlocks * perWeight) + frozen + others * options.StoredType.ElementSize(), trained * 4);
    }

    private static long CountElements(IEnumerable<Layers.LinearLayer> layers) => layers.Sum(l => l.InputSize * l.OutputSize);

    // Of a frozen matrix, where it is held and sent.
    private static double GetBytesPerWeight(StepMemoryOptions options) =>
        options.Quantization switch
        {
            QuantizationKind.Nf4 => Nf4Bytes,
            QuantizationKind.Int8 => 1.0,
            _ => IsHeldInBf16(options) ? 2 : options.StoredType.ElementSize(),
        };

    /// <summary>
    /// Bytes of the blocks that ranks gather in a forward and backward pass over a text, this rank's own part included; 0 if each has them
    /// all.
    /// </summary>
    internal static long CountGathered(CausalLanguageModel model, StepMemoryOptions options)
    {
        if (options.ModelRanks == 1)
            return 0;
        var blocks = model.BlockLinears.Select(CountElements).ToList();
        var gathered = Layers.GatherSlots.ListMissing(CheckpointedPass.ListVisits(blocks.Count, options.BlocksPerSegment));
        return (long)(gathered.Sum(block => blocks[block]) * GetBytesPerWeight(options));
    }

    /// <summary>Whether the matrices are held in bf16 besides the type in which they are stored (<see cref="ProductWeights"/>).</summary>
    internal static bool IsHeldInBf16(StepMemoryOptions options) =>
        options is { Quantization: QuantizationKind.None, ComputeType: ScalarType.BFloat16, Tuning.TrainEverything: false, Cuda: false }
        && options.StoredType != ScalarType.BFloat16;

    // 4 bits per weight, 8 a block of 64, 32 for 256 blocks.
    private const double Nf4Bytes = 0.5 + 1.0 / 64 + 4.0 / (64 * 256);

    // The moments and the exact sum. Where ranks divide them, the sum goes over the network in pieces, two at a time.
    private static long CountOptimizer(long trained, StepMemoryOptions options)
    {
        var (ranks, perWeight) = (options.OptimizerRanks, 2 * sizeof(float) + (options.AddsExactly ? sizeof(long) : 0));
        if (ranks == 1)
            return perWeight * trained;
        var borders = OptimizerShards.Divide(trained, ranks);
        var pieces = options.AddsExactly ? 2 * sizeof(long) * Math.Min(trained, DividedSum.PieceElements) : 0;
        return perWeight * borders.Zip(borders.Skip(1), (a, b) => b - a).Max() + pieces;
    }

    private static (long Kept, long Offloaded) CountKept(ModelConfig config, long tokens, long size, StepMemoryOptions options)
    {
        long input = tokens * config.HiddenSize * size;
        var block = input + tokens * config.HeadCount * (config.HeadSize * size + (options.Cuda ? 0 : 4)); // and the log-sum-exp
        var spans = (config.LayerCount + options.BlocksPerSegment - 1) / options.BlocksPerSegment;
        var (waiting, working) =
            options.BlocksPerSegment == 1
                ? (config.LayerCount * block, block)
                : (spans * input, input + Math.Min(options.BlocksPerSegment, config.LayerCount) * block);
        var inMemory =
            options.Offload is ActivationOffload.None or ActivationOffload.Auto
            || (options.Offload == ActivationOffload.Host && !options.Cuda);
        if (!inMemory)
            return (working, waiting);
        // While the last span is worked on, its own input has been taken from what waits.
        return (options.BlocksPerSegment == 1 ? waiting : waiting + working - input, 0);
    }

    // Inputs of tokens for each layer, and keys and values that later layers use again; each with its gradient.
    private static long CountSide(ModelConfig config, long tokens, long size)
    {
        var inputs = config.TokenInputs is { } own ? (long)config.LayerCount * own.Size : 0;
        var shared = config.Layers.Select(l => l.KeysOf).OfType<int>().Distinct().Select(config.GetLayer);
        return 2 * tokens * size * (inputs + shared.Sum(l => 2L * l.KeyValueHeadCount * l.HeadSize));
    }

    private static long CountAttention(
        CausalLanguageModel model,
        IAttention attention,
        int length,
        SequencePlan? plan,
        long size,
        StepMemoryOptions options
    )
    {
        var config = model.Config;
        long whole = (long)options.BatchSize * length,
            tokens = plan?.Longest ?? whole,
            all = (long)config.HeadCount * config.HeadSize;
        var groups = model.Blocks[0].HeadGroups;
        var atOnce = BlockPass.CountGroupsAtOnce(
            plan is null ? whole : TextRanks.CountTokensForHeads(plan, options.Cuda),
            all,
            groups,
            options.Cuda
        );
        var part = (double)atOnce / groups;
        long queries = (long)(tokens * all * part) * size,
            keys = (long)(tokens * config.KeyValueHeadCount * config.HeadSize * part) * size;
        var longest = attention.MakePattern(length) is var pattern ? pattern.Lower.Concat(pattern.Upper).Max(r => r.Length) : 0;
        // Of one call at a time, of whole stretches: an output, or three gradients. On CUDA the output once more, its gradient in order,
        // and the kernel's sums in fp32.
        var (kernel, results) = (
            Math.Max(
                PatternAttention.MaxKernelElements(options.Cuda) * size,
                (long)((double)longest / (plan?.Longest ?? length) * queries)
            ),
            // A processor without bf16 runs the backward kernel in fp32: five arguments and three results of twice the size.
            options.Cuda
                ? 7
            : size == 2 && !Processor.MultipliesBf16 ? 19
            : 3
        );
        var normed = tokens * config.HiddenSize * size * (model.Blocks[0].IsParallel ? 2 : 1);
        return normed + 3 * queries + 4 * keys + results * Math.Min(kernel, queries) + CountBorders(config, plan, part, size);
    }

    // What two borders take in the backward pass for the heads that are processed at once: tensors that are sent or awaited, and the
    // divided group as a whole with its gradients, which the kernel gives once more.
    private static long CountBorders(ModelConfig config, SequencePlan? plan, double part, long size)
    {
        if (plan is null)
            return 0;
        long divided = Enumerable.Range(1, plan.Ranks - 1).SelectMany(plan.FindDivided).Select(g => g.Groups.End).DefaultIfEmpty().Max();
        var heads = part * config.HeadSize / 2; // of one half
        double queries = heads * config.HeadCount * size,
            keys = heads * config.KeyValueHeadCount * size;
        return (long)(divided * (2 * (4 * queries + 4 * keys) + 3 * queries + 2 * keys + 2 * (queries + 2 * keys)));
    }

    private static long CountLoss(CausalLanguageModel model, long tokens, long size, StepMemoryOptions options)
    {
        var rows = Math.Min(tokens, ChunkedCrossEntropy.CountChunkRows(model.Head.OutputSize, options.Cuda));
        return rows * (model.Head.OutputSize * (size == 4 ? 4 : 8) + 6 * model.Head.InputSize * size);
    }

    private static long CountWorkspace(CausalLanguageModel model, long tokens, long size, StepMemoryOptions options)
    {
        var mlp = model.Blocks.Max(b => b.Mlp.Width);
        var rows = Math.Min(tokens, BlockPass.CountTileRows(mlp, options.Cuda));
        // gate, up, their activation and product, their gradients; the tile itself, its norm and gradients
        var tile = rows * (8 * mlp + 6 * model.Config.HiddenSize) * size;
        var (matrix, head) = (mlp * model.Config.HiddenSize, model.Head.InputSize * model.Head.OutputSize);
        var headIsTrained = options.Tuning.TrainEverything || (model.Config.TiedEmbeddings && options.Tuning.TrainEmbeddings);
        if (options.Cuda)
        {
            // A matrix that is looked up by tensor operations, or matrices in another type than that of the products.
            var looked = options.Quantization == QuantizationKind.None ? 0 : 16 * matrix;
            var narrowed =
                options.Quantization == QuantizationKind.None
                && (options.Tuning.TrainEverything || options.StoredType.ElementSize() != size)
                    ? 3 * matrix * size
                    : 0;
            return tile + Math.Max(headIsTrained ? 2 * head * size : 0, looked + narrowed);
        }
        if (size == 2)
        {
            // Copies of trained matrices for the whole pass; a tile's norms and rotary positions in fp32; matrices made for use.
            var copies =
                options.Tuning.TrainEverything ? model.Linears.Sum(l => l.InputSize * l.OutputSize)
                : headIsTrained ? head
                : 0;
            var made = options.Tuning.TrainEverything || options.Quantization != QuantizationKind.None ? 3 * matrix : 0;
            // Operands that a processor without bf16 multiplies in fp32.
            var widened = Processor.MultipliesBf16 ? 0 : 2 * tile + 4 * Math.Max(head, 3 * matrix);
            return tile + rows * 4 * model.Config.HiddenSize * 4 + size * (copies + made) + widened;
        }
        if (options.Quantization == QuantizationKind.None && options.StoredType == ScalarType.Float32)
            return tile;
        // On the CPU the graph of a tile holds gate and up in fp32; a head that is not trained is widened for its product.
        return tile + Math.Max(headIsTrained ? 0 : head * 4, options.Tuning.TrainEverything ? 0 : 3 * matrix * 4);
    }
}
