using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, D model size, V vocabulary

/// <summary>
/// One decoder block: two branches that are added to the residual stream. The branches are separate so that a backward pass can recompute
/// them one at a time, and the second, which treats every token alone, a slice of tokens at a time.
/// </summary>
public abstract class DecoderBlock
{
    /// <summary>Whether both branches read the block's input (GPT-NeoX); otherwise the second reads the sum of input and first branch.</summary>
    public virtual bool IsParallel => false;

    /// <summary>The attention branch without the residual: norm, q, k, v, attention, output projection. [B, L, D] -> [B, L, D].</summary>
    public abstract Tensor Attend(Tensor hidden, ForwardContext context);

    /// <summary>The MLP branch without the residual; each token alone. [..., D] -> [..., D].</summary>
    public abstract Tensor Transform(Tensor hidden);

    /// <summary>The whole block. [B, L, D] -> [B, L, D].</summary>
    public Tensor Forward(Tensor hidden, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        var attended = hidden + Attend(hidden, context);
        return (attended + Transform(IsParallel ? hidden : attended)).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// A decoder-only language model as an explicit chain: <see cref="Embedding"/>, <see cref="Blocks"/>, <see cref="FinalNorm"/>,
/// <see cref="Head"/>. Training walks the chain itself; everything else calls <see cref="Forward"/>.
/// </summary>
public sealed class CausalLanguageModel : IDisposable
{
    private readonly LayerBuilder _layers;
    private readonly IDisposable? _files;

    internal CausalLanguageModel(ModelConfig config, LayerBuilder layers, EmbeddingLayer embedding, IReadOnlyList<DecoderBlock> blocks,
        INormLayer finalNorm, LinearLayer head, Device device, IDisposable? files)
    {
        (Config, _layers, Embedding, Blocks, FinalNorm, Head, Device, _files) = (config, layers, embedding, blocks, finalNorm, head, device, files);
        ComputeType = device.type == TorchSharp.DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32;
    }

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

    /// <summary>The type of activations: fp32 on the CPU, bf16 on CUDA. Norms, RoPE angles and losses are fp32 everywhere.</summary>
    public ScalarType ComputeType { get; }

    /// <summary>All weights in the checkpoint's order.</summary>
    public IReadOnlyList<Weight> Weights => _layers.Weights;

    /// <summary>All linear layers; a tied head is not among them.</summary>
    public IReadOnlyList<LinearLayer> Linears => _layers.Linears;

    /// <summary>All norms.</summary>
    public IReadOnlyList<INormLayer> Norms => _layers.Norms;

    /// <summary>Hidden states after the final norm: [B, L] ids -> [B, L, D].</summary>
    public Tensor Forward(Tensor ids, ForwardContext context)
    {
        CheckIds(ids, context);
        using var scope = NewDisposeScope();
        var hidden = Embedding.Forward(ids, ComputeType);
        foreach (var block in Blocks)
        {
            var next = block.Forward(hidden, context);
            hidden.Dispose();
            hidden = next;
        }
        return FinalNorm.Forward(hidden).MoveToOuterDisposeScope();
    }

    /// <summary>Logits for every position: [B, L] ids -> [B, L, V] in fp32. For long texts use chunks of <see cref="Forward"/>'s result and <see cref="Head"/>.</summary>
    public Tensor Logits(Tensor ids, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        return Head.Forward(Forward(ids, context)).to(ScalarType.Float32).MoveToOuterDisposeScope();
    }

    internal static void CheckIds(Tensor ids, ForwardContext context)
    {
        if (ids.dim() != 2 || ids.size(1) != context.Positions.Length)
            throw new ShapeException($"The model takes ids [B, L] with rotary tables for L positions; seen [{string.Join(", ", ids.shape)}] and {context.Positions.Length}.");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var weight in Weights)
            weight.Dispose();
        _files?.Dispose();
    }
}
