using LongLora.Attention;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, h some of the H heads, K head size, D model size, F MLP size

/// <summary>
/// The block of Llama and related families: a norm before each branch, rotary positions, grouped-query attention, and the MLP
/// down(silu(gate) · up). A family only says where the layers come from.
/// </summary>
/// <param name="config">The architecture.</param>
/// <param name="layer">Index of the layer.</param>
internal sealed class GatedBlock(ModelConfig config, int layer) : DecoderBlock
{
    private readonly int _queriesPerGroup = config.HeadCount / config.KeyValueHeadCount,
        _heads = config.HeadCount;

    /// <inheritdoc/>
    public override required INormLayer AttentionNorm { get; init; }

    /// <summary>The query heads.</summary>
    internal required HeadProjection Query { get; init; }

    /// <summary>The key heads.</summary>
    internal required HeadProjection Key { get; init; }

    /// <summary>The value heads.</summary>
    internal required HeadProjection Value { get; init; }

    /// <inheritdoc/>
    public override required LinearLayer AttentionOutput { get; init; }

    /// <inheritdoc/>
    public override required INormLayer MlpNorm { get; init; }

    /// <summary>[.., D] -> [.., F], or [.., 2 F] if gate and up are one layer, gate first.</summary>
    internal required LinearLayer Gate { get; init; }

    /// <summary>[.., D] -> [.., F]; null if it is part of <see cref="Gate"/>.</summary>
    internal LinearLayer? Up { get; init; }

    /// <inheritdoc/>
    public override required LinearLayer MlpOutput { get; init; }

    /// <inheritdoc/>
    public override int HeadGroups { get; } = config.KeyValueHeadCount;

    /// <inheritdoc/>
    public override int? Window { get; } = config.GetWindow(layer);

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> AttentionLayers =>
        [.. new[] { Query.Layer, Key.Layer, Value.Layer, AttentionOutput }.Distinct()];

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> RunAgain =>
        [.. new[] { Query, Key, Value }.Where(p => p.Norm is not null).Select(p => p.Layer)];

    /// <inheritdoc/>
    internal override int CountSlices(LinearLayer layer) => new[] { Query, Key, Value }.Count(p => p.Layer == layer);

    /// <inheritdoc/>
    public override AttentionInputs Project(Tensor input, int firstGroup, int groupCount, ForwardContext context)
    {
        var (firstHead, heads) = (firstGroup * _queriesPerGroup, groupCount * _queriesPerGroup);
        return new(
            Query.Forward(input, firstHead, heads, context.Positions),
            Key.Forward(input, firstGroup, groupCount, context.Positions),
            Value.Forward(input, firstGroup, groupCount, null),
            new HeadSlice(firstHead, heads, _heads)
        );
    }

    /// <inheritdoc/>
    public override Tensor ProjectBackward(Tensor input, AttentionInputs gradients, int firstGroup, int groupCount, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        return Query
            .Backward(input, gradients.Query, firstGroup * _queriesPerGroup, groupCount * _queriesPerGroup, context.Positions)
            .add_(Key.Backward(input, gradients.Key, firstGroup, groupCount, context.Positions), Scalars.One)
            .add_(Value.Backward(input, gradients.Value, firstGroup, groupCount, null), Scalars.One)
            .view(input.shape)
            .MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Activate(Tensor input)
    {
        using var scope = NewDisposeScope();
        var gate = Gate.Forward(input);
        var up = Up?.Forward(input) ?? gate.narrow(-1, MlpOutput.InputSize, MlpOutput.InputSize);
        gate = Up is null ? gate.narrow(-1, 0, MlpOutput.InputSize) : gate;
        return nn.functional.silu(gate).mul(up).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// Heads that are consecutive outputs of a linear layer: head h has the outputs [FirstOutput + h K, FirstOutput + (h + 1) K).
/// </summary>
/// <param name="Layer">The layer; several projections may share one.</param>
/// <param name="HeadSize">K.</param>
/// <param name="FirstOutput">The first output of head 0.</param>
/// <param name="Norm">A norm over each head [.., K], applied before positions; null for none.</param>
internal sealed record HeadProjection(LinearLayer Layer, int HeadSize, long FirstOutput = 0, INormLayer? Norm = null)
{
    /// <summary>Some heads, rotated by their positions if these are given; differentiable. [B, L, D] -> [B, h, L, K].</summary>
    internal Tensor Forward(Tensor input, int first, int count, RotaryEmbedding? positions)
    {
        using var scope = NewDisposeScope();
        var heads = ProjectPlain(input, first, count);
        heads = Norm?.Forward(heads) ?? heads;
        return (positions?.Rotate(heads) ?? heads).transpose(1, 2).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The gradient of the input for the gradient of the heads, [B, h, L, K] -> [B L, D], outside autograd. It also adds the gradients of
    /// the weights.
    /// </summary>
    internal Tensor Backward(Tensor input, Tensor gradient, int first, int count, RotaryEmbedding? positions)
    {
        using var scope = NewDisposeScope();
        gradient = gradient.transpose(1, 2); // -> [B, L, h, K]
        gradient = positions?.RotateBack(gradient) ?? gradient;
        if (Norm is not null)
        {
            var leaf = ProjectPlain(input, first, count).requires_grad_(true);
            using (enable_grad())
                Norm.Forward(leaf).backward([gradient]);
            gradient = leaf.grad!;
        }
        var flat = gradient.reshape(-1, (long)count * HeadSize); // -> [B L, h K]
        Layer.AccumulateGradients(input.reshape(-1, input.size(2)), flat, SelectOutputs(first, count));
        return Layer.ComputeInputGradient(flat, null, SelectOutputs(first, count)).MoveToOuterDisposeScope();
    }

    // [B, L, D] -> [B, L, h K] -> [B, L, h, K]
    private Tensor ProjectPlain(Tensor input, int first, int count)
    {
        using var scope = NewDisposeScope();
        return Layer.Forward(input, SelectOutputs(first, count)).unflatten(2, [count, HeadSize]).MoveToOuterDisposeScope();
    }

    private FeatureSlice SelectOutputs(int first, int count) => new(FirstOutput + (long)first * HeadSize, (long)count * HeadSize);
}
