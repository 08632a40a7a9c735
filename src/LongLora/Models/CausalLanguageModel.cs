using LongLora.Attention;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>
/// A decoder-only language model as an explicit chain: <see cref="Embedding"/>, <see cref="Blocks"/>, <see cref="FinalNorm"/>, <see
/// cref="Head"/>. Training walks the chain itself; everything else calls <see cref="Forward"/>.
/// </summary>
public sealed class CausalLanguageModel : IDisposable
{
    private readonly LayerBuilder _layers;
    private readonly IDisposable? _files;

    internal CausalLanguageModel(ModelConfig config, LayerBuilder layers, ModelParts parts, Device device, IDisposable? files)
    {
        (Config, _layers, Device, _files) = (config, layers, device, files);
        (Embedding, Blocks, FinalNorm, Head) = parts;
        TokenInputs = parts.TokenInputs;
        // On the CPU fp32 unless somebody asks, so that numbers do not depend on what the processor can do.
        if (device.type == TorchSharp.DeviceType.CUDA)
            ComputeType = PrecisionChoice.Resolve(ComputePrecision.Auto, device.type, device.index, ScalarType.BFloat16).ToTensorType();
    }

    /// <summary>The architecture, with the positions that the model was built for.</summary>
    public ModelConfig Config { get; private set; }

    /// <summary>The token table.</summary>
    internal EmbeddingLayer Embedding { get; }

    /// <summary>Computes per-layer inputs for each token; null if there are none.</summary>
    internal TokenInputs? TokenInputs { get; }

    /// <summary>The decoder blocks in order.</summary>
    internal IReadOnlyList<DecoderBlock> Blocks { get; }

    /// <summary>The norm before the head.</summary>
    internal INormLayer FinalNorm { get; }

    /// <summary>Maps hidden states to logits. In a tied model it shares the weight of the token table.</summary>
    internal LinearLayer Head { get; }

    /// <summary>Where the weights live.</summary>
    public Device Device { get; }

    /// <summary>
    /// The type of activations and of the operands of products; weights in another type are converted to it when they are used. On the CPU
    /// it is fp32 unless bf16 was requested. On CUDA it is bf16, unless fp32 was requested or the device is older than Ampere. Norms,
    /// rotary positions and losses are always fp32.
    /// </summary>
    public ScalarType ComputeType { get; internal set; } = ScalarType.Float32;

    /// <summary>The name of that type in options and files.</summary>
    internal string ComputeName =>
        ComputeType == ScalarType.BFloat16 ? "bf16"
        : Device.type == TorchSharp.DeviceType.CUDA && backends.cuda.matmul.allow_tf32 ? "tf32"
        : "fp32";

    /// <summary>All weights in the checkpoint's order, without quantized matrices.</summary>
    internal IReadOnlyList<Weight> Weights => _layers.Weights;

    /// <summary>All linear layers, without a tied head.</summary>
    internal IReadOnlyList<LinearLayer> Linears => _layers.Linears;

    /// <summary>The linear layers of each decoder block.</summary>
    internal IReadOnlyList<IReadOnlyList<LinearLayer>> BlockLinears => _layers.BlockLinears;

    /// <summary>Whether matrices of its decoder blocks are quantized and therefore frozen.</summary>
    public bool IsQuantized => Linears.Any(l => l.Projection is QuantizedProjection);

    /// <summary>The matrices of experts that a checkpoint holds in one tensor.</summary>
    internal IReadOnlyList<ExpertStack> Stacks => _layers.Stacks;

    /// <summary>The matrices of which each rank of a job has a part; null if this process has all of them.</summary>
    internal DividedMatrices? Divided => _layers.Divided;

    /// <summary>All norms.</summary>
    internal IReadOnlyList<INormLayer> Norms => _layers.Norms;

    /// <summary>
    /// Sets the number format of activations and products. The choice between fp32 and TF32 applies to the whole process.
    /// </summary>
    /// <param name="precision">As <see cref="PrecisionChoice.Resolve"/> decided for its device.</param>
    internal void ComputeIn(ComputePrecision precision)
    {
        ComputeType = precision.ToTensorType();
        if (Device.type == TorchSharp.DeviceType.CUDA)
            backends.cuda.matmul.allow_tf32 = precision == ComputePrecision.Tf32;
    }

    /// <summary>
    /// Hidden states after the final norm: [B, L] ids -> [B, L, D], outside autograd and with the least memory. Training does not call
    /// this; it walks the chain itself.
    /// </summary>
    internal Tensor Forward(Tensor ids, ForwardContext context)
    {
        CheckIds(ids, context);
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        using var workspace = new Workspace();
        var hidden = HostMemory.AllocateApart(() => Embedding.Forward(ids, ComputeType));
        using var side = OpenSide(ids, hidden);
        context = context with { Side = side };
        foreach (var block in Blocks)
        {
            using var inner = NewDisposeScope();
            BlockPass.Forward(block, hidden, context, workspace);
        }
        return FinalNorm.Forward(hidden).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Creates the additional block inputs for a pass; null if the model has none.
    /// </summary>
    /// <param name="ids">[B, L].</param>
    /// <param name="hidden">[B, L, D], their embeddings.</param>
    internal SideInputs? OpenSide(Tensor ids, Tensor hidden) =>
        TokenInputs is null && !Blocks.Any(b => b.SharesKeys) ? null : new SideInputs(TokenInputs?.Compute(ids, hidden));

    /// <summary>
    /// Logits for every position: [B, L] ids -> [B, L, V] in fp32, outside autograd. L * V numbers: for texts of a few thousand tokens.
    /// </summary>
    /// <param name="ids">[B, L], each in 0..V-1.</param>
    /// <param name="attention">Which tokens look at which. Default: full causal attention.</param>
    /// <exception cref="ShapeException">The ids are not [B, L].</exception>
    public Tensor ComputeLogits(Tensor ids, IAttention? attention = null)
    {
        using var positions = RotaryEmbedding.Create(Config, checked((int)ids.shape[^1]), Device);
        return ComputeLogits(ids, new ForwardContext(attention ?? new FullAttention(), positions));
    }

    /// <summary>
    /// Logits for every position: [B, L] ids -> [B, L, V] in fp32. For long texts, apply <see cref="Head"/> to chunks of <see
    /// cref="Forward"/>'s result instead.
    /// </summary>
    internal Tensor ComputeLogits(Tensor ids, ForwardContext context)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return ApplyHead(Forward(ids, context)).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Logits of hidden states after the final norm: the head, times the model's factor, under its cap. [.., D] -> [.., V].
    /// </summary>
    public Tensor ApplyHead(Tensor hidden)
    {
        var logits = Head.Forward(hidden);
        if (Config.LogitFactor == 1 && Config.LogitCap is null)
            return logits;
        using var scope = NewDisposeScope();
        if (Config.LogitFactor != 1)
            logits = logits.mul(Scalars.Of(Config.LogitFactor));
        if (Config.LogitCap is { } cap)
            logits = logits.mul(Scalars.Of(1 / cap)).tanh().mul(Scalars.Of(cap));
        return logits.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// What the gradient of <see cref="ApplyHead"/>'s result is multiplied by to be that of the head's own output, fp32; null for one.
    /// </summary>
    /// <param name="logits">What ApplyHead returned.</param>
    internal Tensor? ComputeLogitSlope(Tensor logits)
    {
        if (Config.LogitFactor == 1 && Config.LogitCap is null)
            return null;
        using var scope = NewDisposeScope();
        if (Config.LogitCap is not { } cap)
            return full([1], Scalars.Of(Config.LogitFactor), ScalarType.Float32, logits.device).MoveToOuterDisposeScope();
        // c tanh(z / c) has the slope 1 - tanh².
        var share = logits.to(ScalarType.Float32).mul(Scalars.Of(1 / cap));
        return share.mul_(share).neg_().add_(Scalars.One, Scalars.One).mul_(Scalars.Of(Config.LogitFactor)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Adds token ids to the model. The new rows of the embeddings and the head are the mean of the others, as in LongLoRA's <c>[PAD]</c>
    /// token.
    /// </summary>
    /// <param name="size">The new V, at least the current one. Call it only before training, because weights get new tensors.</param>
    public void ResizeVocabulary(int size)
    {
        var added = size - Config.VocabularySize;
        ArgumentOutOfRangeException.ThrowIfNegative(added, nameof(size));
        using var noGradient = no_grad();
        foreach (
            var weight in Weights.Where(w =>
                w == Embedding.Weight || w == TokenInputs?.Table || w.Name == Head.Name + ".weight" || w.Name == Head.Name + ".bias"
            )
        )
        {
            using var scope = NewDisposeScope();
            var mean = weight.Value.to(ScalarType.Float32).mean([0], keepdim: true).to(weight.Value.dtype);
            weight.ReplaceRows(cat([weight.Value, mean.expand([added, .. weight.Shape.Skip(1)])]));
        }
        Head.OutputSize = size;
        Config = Config with
        {
            VocabularySize = size,
            TokenInputs = Config.TokenInputs is { } inputs ? inputs with { VocabularySize = inputs.VocabularySize + added } : null,
        };
    }

    /// <summary>Whether the head computes with the token table as it is, trained updates included.</summary>
    internal bool IsHeadTied => Config.TiedEmbeddings && ReferenceEquals(Head.Update, Embedding.Update?.ForTiedHead);

    /// <summary>Gives a tied head a separate matrix with the current values of the embeddings. Call it only before training.</summary>
    internal void UntieHead()
    {
        if (!Config.TiedEmbeddings)
            return;
        _layers.Untie(Head, Embedding);
        Config = Config with { TiedEmbeddings = false };
    }

    internal static void CheckIds(Tensor ids, ForwardContext context)
    {
        if (ids.dim() != 2 || ids.size(1) != context.Positions.Length)
            throw new ShapeException(
                $"The model needs ids [B, L] and rotary tables for L positions, but the ids are [{string.Join(", ", ids.shape)}] "
                    + $"and the tables have {context.Positions.Length}."
            );
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _layers.Dispose();
        _files?.Dispose();
    }
}
