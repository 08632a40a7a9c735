using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, D model size, V vocabulary

/// <summary>Queries, keys and values of some heads.</summary>
/// <param name="Query">[B, H, L, K].</param>
/// <param name="Key">[B, J, L, K].</param>
/// <param name="Value">[B, J, L, K].</param>
/// <param name="Heads">Which query heads of the layer they are.</param>
public readonly record struct AttentionInputs(Tensor Query, Tensor Key, Tensor Value, HeadSlice Heads);

/// <summary>
/// One decoder block: norm, heads, attention, output projection; norm, activation, output projection. It is given in these pieces so that a
/// pass can hold some heads, or some tokens, at a time; a family writes down the pieces, and <see cref="BlockPass"/> walks them.
/// </summary>
public abstract class DecoderBlock
{
    /// <summary>
    /// Whether both branches read the block's input (GPT-NeoX); otherwise the second reads the sum of input and first branch.
    /// </summary>
    public virtual bool IsParallel => false;

    /// <summary>The norm before attention.</summary>
    public abstract INormLayer AttentionNorm { get; init; }

    /// <summary>[.., H K] -> [.., D], after attention.</summary>
    public abstract LinearLayer AttentionOutput { get; init; }

    /// <summary>The norm before the MLP.</summary>
    public abstract INormLayer MlpNorm { get; init; }

    /// <summary>[.., F] -> [.., D], after the activation.</summary>
    public abstract LinearLayer MlpOutput { get; init; }

    /// <summary>Into how many groups the heads can be divided that need nothing of each other: usually the key-value heads.</summary>
    public abstract int HeadGroups { get; }

    /// <summary>How many tokens a position looks at, itself included; null for all.</summary>
    public virtual int? Window => null;

    /// <summary>The linear layers of the attention branch: what LoRA goes on by default.</summary>
    public abstract IReadOnlyList<LinearLayer> AttentionLayers { get; }

    /// <summary>Layers that <see cref="ProjectBackward"/> runs again for what lies behind them, such as a norm over heads.</summary>
    public virtual IReadOnlyList<LinearLayer> RunAgain => [];

    /// <summary>
    /// In how many products <see cref="Project"/> takes the outputs of an attention layer: 3 where one layer gives queries, keys and
    /// values one after the other.
    /// </summary>
    internal virtual int SlicesOf(LinearLayer layer) => 1;

    /// <summary>Queries, keys and values, positions applied, of some head groups. Differentiable.</summary>
    /// <param name="input">[B, L, D], normalised.</param>
    /// <param name="firstGroup">First head group.</param>
    /// <param name="groupCount">Number of head groups.</param>
    /// <param name="context">Positions.</param>
    public abstract AttentionInputs Project(Tensor input, int firstGroup, int groupCount, ForwardContext context);

    /// <summary>The gradient of what <see cref="Project"/> was given; adds the gradients of the weights that it used.</summary>
    /// <remarks>The default runs Project again under autograd; a family that knows better does without.</remarks>
    /// <param name="input">[B, L, D], as given to Project.</param>
    /// <param name="gradients">Gradients of what Project returned.</param>
    /// <param name="firstGroup">As given to Project.</param>
    /// <param name="groupCount">As given to Project.</param>
    /// <param name="context">As given to Project.</param>
    /// <returns>[B, L, D].</returns>
    public virtual Tensor ProjectBackward(Tensor input, AttentionInputs gradients, int firstGroup, int groupCount, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        using var gradient = enable_grad();
        var leaf = input.detach().requires_grad_(true);
        var (query, key, value, _) = Project(leaf, firstGroup, groupCount, context);
        autograd.backward([query, key, value], [gradients.Query, gradients.Key, gradients.Value]);
        return leaf.grad!.MoveToOuterDisposeScope();
    }

    /// <summary>The MLP up to its output projection; each token alone. Differentiable. [.., D] normalised -> [.., F].</summary>
    public abstract Tensor Activate(Tensor input);
}

/// <summary>
/// A decoder-only language model as an explicit chain: <see cref="Embedding"/>, <see cref="Blocks"/>, <see cref="FinalNorm"/>,
/// <see cref="Head"/>. Training walks the chain itself; everything else calls <see cref="Forward"/>.
/// </summary>
public sealed class CausalLanguageModel : IDisposable
{
    private readonly LayerBuilder _layers;
    private readonly IDisposable? _files;

    internal CausalLanguageModel(ModelConfig config, LayerBuilder layers, ModelParts parts, Device device, IDisposable? files)
    {
        (Config, _layers, Device, _files) = (config, layers, device, files);
        (Embedding, Blocks, FinalNorm, Head) = parts;
        ComputeType = device.type == TorchSharp.DeviceType.CUDA && HasBf16 ? ScalarType.BFloat16 : ScalarType.Float32;
    }

    // The fused attention of older GPUs takes no bf16, and without it the scores are a matrix [L, L].
    private bool HasBf16 => CudaDriver.Capability(Device.index) is not < 8;

    /// <summary>The architecture. Exchanged when positions are rescaled.</summary>
    public ModelConfig Config { get; set; }

    /// <summary>Token table.</summary>
    public EmbeddingLayer Embedding { get; }

    /// <summary>The decoder blocks in order.</summary>
    public IReadOnlyList<DecoderBlock> Blocks { get; }

    /// <summary>The norm before the head.</summary>
    public INormLayer FinalNorm { get; }

    /// <summary>Hidden state to logits; shares the token table's weight in a tied model.</summary>
    public LinearLayer Head { get; }

    /// <summary>Where the weights live.</summary>
    public Device Device { get; }

    /// <summary>
    /// The type of activations and of the products' operands, to which weights are converted where they are used: fp32 on the CPU, bf16
    /// on CUDA unless fp32 was asked for or the device is older than Ampere. Norms, RoPE angles and losses are fp32 everywhere.
    /// </summary>
    public ScalarType ComputeType { get; internal set; }

    /// <summary>All weights in the checkpoint's order; quantised matrices are not among them.</summary>
    public IReadOnlyList<Weight> Weights => _layers.Weights;

    /// <summary>All linear layers; a tied head is not among them.</summary>
    public IReadOnlyList<LinearLayer> Linears => _layers.Linears;

    /// <summary>Whether matrices of its decoder blocks are quantised, and therefore frozen.</summary>
    public bool IsQuantized => Linears.Any(l => l.Projection is QuantizedProjection);

    /// <summary>All norms.</summary>
    public IReadOnlyList<INormLayer> Norms => _layers.Norms;

    /// <summary>
    /// Chooses what is computed in, for a model on CUDA; the CPU computes in fp32. The choice between fp32 and TF32 is the whole
    /// process's.
    /// </summary>
    public void ComputeOnCuda(CudaCompute compute)
    {
        if (Device.type != TorchSharp.DeviceType.CUDA)
            return;
        if (compute == CudaCompute.Bf16 && !HasBf16)
            throw new ConfigurationException(
                $"cuda-compute is bf16, which the device {Device} is too old for (compute capability "
                    + $"{CudaDriver.Capability(Device.index)}, 8 is needed); use fp32."
            );
        ComputeType = compute == CudaCompute.Bf16 ? ScalarType.BFloat16 : ScalarType.Float32;
        backends.cuda.matmul.allow_tf32 = compute == CudaCompute.Tf32;
    }

    /// <summary>
    /// Hidden states after the final norm: [B, L] ids -> [B, L, D], outside autograd and with the least memory. Training walks the chain
    /// itself.
    /// </summary>
    public Tensor Forward(Tensor ids, ForwardContext context)
    {
        CheckIds(ids, context);
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        using var workspace = new Workspace();
        var hidden = HostMemory.Apart(() => Embedding.Forward(ids, ComputeType));
        foreach (var block in Blocks)
        {
            using var inner = NewDisposeScope();
            BlockPass.Forward(block, hidden, context, workspace);
        }
        return FinalNorm.Forward(hidden).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Logits for every position: [B, L] ids -> [B, L, V] in fp32. For long texts use chunks of <see cref="Forward"/>'s result and
    /// <see cref="Head"/>.
    /// </summary>
    public Tensor Logits(Tensor ids, ForwardContext context)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return Head.Forward(Forward(ids, context)).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Gives the model more token ids: the new rows of embeddings and head are the mean of the others, as LongLoRA makes that of its
    /// <c>[PAD]</c>.
    /// </summary>
    /// <param name="size">The new V, not below the present one. Only before training: weights get new tensors.</param>
    public void ResizeVocabulary(int size)
    {
        var added = size - Config.VocabularySize;
        ArgumentOutOfRangeException.ThrowIfNegative(added, nameof(size));
        using var noGradient = no_grad();
        foreach (
            var weight in Weights.Where(w => w == Embedding.Weight || w.Name == Head.Name + ".weight" || w.Name == Head.Name + ".bias")
        )
        {
            using var scope = NewDisposeScope();
            var mean = weight.Value.to(ScalarType.Float32).mean([0], keepdim: true).to(weight.Value.dtype);
            weight.ReplaceRows(cat([weight.Value, mean.expand([added, .. weight.Shape.Skip(1)])]));
        }
        Head.OutputSize = size;
        Config = Config with { VocabularySize = size };
    }

    internal static void CheckIds(Tensor ids, ForwardContext context)
    {
        if (ids.dim() != 2 || ids.size(1) != context.Positions.Length)
            throw new ShapeException(
                $"The model takes ids [B, L] with rotary tables for L positions; seen [{string.Join(", ", ids.shape)}] and "
                    + $"{context.Positions.Length}."
            );
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _layers.Dispose();
        _files?.Dispose();
    }
}
