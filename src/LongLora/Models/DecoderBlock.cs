using LongLora.Attention;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>
/// One decoder block: norm, heads, attention, output projection; norm, MLP; and what happens to the output of either branch before it is
/// added. It is divided into these parts so that a pass can process some heads or some tokens at a time. A family defines the parts, and
/// <see cref="BlockPass"/> walks them.
/// </summary>
internal abstract class DecoderBlock
{
    /// <summary>
    /// Whether both branches read the block's input (GPT-NeoX). Otherwise the second branch reads the sum of the input and the first
    /// branch.
    /// </summary>
    public virtual bool IsParallel => false;

    /// <summary>The norm before attention.</summary>
    public abstract INormLayer AttentionNorm { get; init; }

    /// <summary>[.., H K] -> [.., D], after attention.</summary>
    public abstract LinearLayer AttentionOutput { get; init; }

    /// <summary>Whether the output of attention is multiplied by a gate before the output projection.</summary>
    public virtual bool HasGate => false;

    /// <summary>The gate: [.., D] normalized -> [N, H K]. Differentiable.</summary>
    public virtual Tensor ComputeGate(Tensor input) => throw new NotSupportedException("The block has no gate.");

    /// <summary>What the block has in place of attention; null for attention.</summary>
    internal virtual Recurrence? Recurrence
    {
        get => null;
        init { }
    }

    /// <summary>What happens to the output of attention before it is added.</summary>
    public virtual BranchEnd AttentionEnd { get; init; } = BranchEnd.None;

    /// <summary>The norm before the MLP.</summary>
    public abstract INormLayer MlpNorm { get; init; }

    /// <summary>The MLP, dense or of experts.</summary>
    public abstract FeedForward Mlp { get; init; }

    /// <summary>What happens to the output of the MLP before it is added.</summary>
    public virtual BranchEnd MlpEnd { get; init; } = BranchEnd.None;

    /// <summary>What happens to the block's output, after both branches; null for nothing.</summary>
    public virtual BlockTail? Tail
    {
        get => null;
        init { }
    }

    /// <summary>Index of the layer, if others reuse its keys and values or it has per-layer inputs.</summary>
    public virtual int Index => 0;

    /// <summary>The layer whose keys and values this one uses; null for its own.</summary>
    public virtual int? KeysOf => null;

    /// <summary>Whether later layers use its keys and values.</summary>
    public virtual bool SharesKeys => false;

    /// <summary>
    /// The number of groups into which the heads can be divided so that groups are independent; usually the key-value heads.
    /// </summary>
    public abstract int HeadGroups { get; }

    /// <summary>How many tokens a position looks at, itself included; null for all.</summary>
    public virtual int? Window => null;

    /// <summary>c, where attention scores s become c tanh(s / c); null if they stay.</summary>
    public virtual double? ScoreCap => null;

    /// <summary>[H], one more logit for each head in its softmax; null for none.</summary>
    public virtual Weight? Sinks
    {
        get => null;
        init { }
    }

    /// <summary>Applies the block's window, cap and sinks to the requested attention.</summary>
    public IAttention Adapt(IAttention attention)
    {
        if (Window is { } window)
            attention = attention.Within(window);
        if (ScoreCap is { } cap)
            attention = attention.WithScoreCap(cap);
        return Sinks is { } sinks ? attention.WithSinks(sinks) : attention;
    }

    /// <summary>The linear layers of the attention branch. LoRA is applied to these by default.</summary>
    public abstract IReadOnlyList<LinearLayer> AttentionLayers { get; }

    /// <summary>Layers that <see cref="ProjectBackward"/> runs again because something follows them, such as a norm over heads.</summary>
    public virtual IReadOnlyList<LinearLayer> RunAgain => [];

    /// <summary>
    /// The number of products in which <see cref="Project"/> computes the outputs of an attention layer: 3 if one layer gives queries, keys
    /// and values one after the other.
    /// </summary>
    internal virtual int CountSlices(LinearLayer layer) => 1;

    /// <summary>Queries, keys and values of some head groups, with positions applied. Differentiable.</summary>
    /// <param name="input">[B, L, D], normalized.</param>
    /// <param name="firstGroup">First head group.</param>
    /// <param name="groupCount">Number of head groups.</param>
    /// <param name="context">Positions.</param>
    public abstract AttentionInputs Project(Tensor input, int firstGroup, int groupCount, ForwardContext context);

    /// <summary>The gradient of the input of <see cref="Project"/>. It also adds the gradients of the weights used.</summary>
    /// <remarks>The default runs Project again under autograd. A family can override it with something faster.</remarks>
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
}
