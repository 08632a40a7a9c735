using LongLora.Attention;
using LongLora.Layers;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, h some of the H heads, K head size, D model size

/// <summary>
/// Heads that are consecutive outputs of a linear layer: head h has the outputs [FirstOutput + h K, FirstOutput + (h + 1) K). If the layer
/// gives several parts of K numbers per head, they are one of these parts.
/// </summary>
/// <param name="Layer">The layer; several projections may share one.</param>
/// <param name="HeadSize">K.</param>
/// <param name="FirstOutput">The first output of head 0.</param>
/// <param name="Norm">A norm, applied as <paramref name="NormPlace"/> says; null for none.</param>
/// <param name="NormPlace">Where the norm is applied.</param>
/// <param name="Factor">Factor on the heads: for queries, a scale of the scores other than the kernels' 1 / sqrt(K).</param>
/// <param name="Parts">Number of parts that the layer gives for each head, one after the other.</param>
/// <param name="Part">Which of these parts the heads are.</param>
internal sealed record HeadProjection(
    LinearLayer Layer,
    int HeadSize,
    long FirstOutput = 0,
    INormLayer? Norm = null,
    HeadNormPlace NormPlace = HeadNormPlace.EachHead,
    double Factor = 1,
    int Parts = 1,
    int Part = 0
)
{
    /// <summary>
    /// Heads of several projections, each rotated by its positions if these are given; differentiable. [B, L, D] -> [B, h, L, K].
    /// </summary>
    internal static Tensor[] Forward(
        Tensor input,
        params (HeadProjection Projection, HeadSlice Heads, RotaryEmbedding? Positions)[] parts
    ) =>
        ForwardToken(input, parts)
        ?? [.. parts.Select(part => part.Projection.Forward(input, part.Heads.First, part.Heads.Count, part.Positions))];

    /// <summary>Some heads, rotated by their positions if these are given; differentiable. [B, L, D] -> [B, h, L, K].</summary>
    internal Tensor Forward(Tensor input, int first, int count, RotaryEmbedding? positions)
    {
        using var scope = NewDisposeScope();
        var heads = Plain(input, first, count);
        if (NormPlace != HeadNormPlace.AfterRotation)
            heads = Normalize(heads);
        heads = positions?.Rotate(heads) ?? heads;
        if (NormPlace == HeadNormPlace.AfterRotation)
            heads = Normalize(heads);
        if (Factor != 1)
            heads = heads.mul(Scalars.Of(Factor));
        return heads.transpose(1, 2).MoveToOuterDisposeScope();
    }

    // The same for one token, whose heads are written where they end up; null if it is more, or anything but numbers in memory.
    private static Tensor[]? ForwardToken(Tensor input, (HeadProjection Projection, HeadSlice Heads, RotaryEmbedding? Positions)[] parts)
    {
        if (!SmallWork.Fits(input) || !Array.TrueForAll(parts, part => part.Projection.TakesToken))
            return null;
        var rows = Array.ConvertAll(parts, part => new RowOutputs(
            part.Projection.Layer,
            part.Projection.Outputs(part.Heads.First, part.Heads.Count),
            [1, part.Heads.Count, 1, part.Projection.HeadSize]
        ));
        return LinearLayer.ForwardRow(input, rows) is { } made
            ? [.. parts.Zip(made, (part, heads) => part.Projection.FinishToken(heads, part.Positions))]
            : null;
    }

    private bool TakesToken => Parts == 1 && (Norm is null || NormPlace == HeadNormPlace.EachHead);

    // Norm and rotation of the heads of one token.
    private Tensor FinishToken(Tensor heads, RotaryEmbedding? positions)
    {
        if (Norm is not null)
            heads = Norm.Forward(heads);
        if (positions?.TryRotateToken(heads) == false)
            heads = positions.Rotate(heads.transpose(1, 2)).transpose(1, 2);
        return Factor == 1 ? heads : heads.mul_(Scalars.Of(Factor));
    }

    /// <summary>
    /// The gradient of the input for the gradient of the heads, [B, h, L, K] -> [B L, D], outside autograd. It also adds the gradients of
    /// the weights.
    /// </summary>
    internal Tensor Backward(Tensor input, Tensor gradient, int first, int count, RotaryEmbedding? positions)
    {
        using var scope = NewDisposeScope();
        gradient = gradient.transpose(1, 2); // -> [B, L, h, K]
        if (Factor != 1)
            gradient = gradient.mul(Scalars.Of(Factor));
        if (NormPlace == HeadNormPlace.AfterRotation)
            gradient = NormalizeBackward(() => positions?.Rotate(Plain(input, first, count)) ?? Plain(input, first, count), gradient);
        gradient = positions?.RotateBack(gradient) ?? gradient;
        if (NormPlace != HeadNormPlace.AfterRotation)
            gradient = NormalizeBackward(() => Plain(input, first, count), gradient);
        if (Parts > 1)
        {
            var all = zeros([gradient.size(0), gradient.size(1), count, Parts, HeadSize], gradient.dtype, gradient.device);
            all.select(3, Part).copy_(gradient);
            gradient = all;
        }
        var flat = gradient.reshape(-1, (long)count * Parts * HeadSize); // -> [B L, h K]
        Layer.AccumulateGradients(input.reshape(-1, input.size(2)), flat, Outputs(first, count));
        return Layer.ComputeInputGradient(flat, null, Outputs(first, count)).MoveToOuterDisposeScope();
    }

    // [B, L, h, K] -> the same
    private Tensor Normalize(Tensor heads) =>
        Norm is null ? heads
        : NormPlace == HeadNormPlace.WholeWidth ? Norm.Forward(heads.flatten(2, 3)).unflatten(2, [heads.size(2), HeadSize])
        : Norm.Forward(heads);

    private Tensor NormalizeBackward(Func<Tensor> heads, Tensor gradient) =>
        Norm is null ? gradient
        : NormPlace == HeadNormPlace.WholeWidth
            ? Norm.Backward(heads().flatten(2, 3), gradient.flatten(2, 3)).unflatten(2, [gradient.size(2), HeadSize])
        : Norm.Backward(heads(), gradient);

    // [B, L, D] -> [B, L, h K] -> [B, L, h, K]
    private Tensor Plain(Tensor input, int first, int count)
    {
        using var scope = NewDisposeScope();
        var outputs = Layer.Forward(input, Outputs(first, count));
        return (
            Parts == 1 ? outputs.unflatten(2, [count, HeadSize]) : outputs.unflatten(2, [count, Parts, HeadSize]).select(3, Part)
        ).MoveToOuterDisposeScope();
    }

    private FeatureSlice Outputs(int first, int count) => new(FirstOutput + (long)first * Parts * HeadSize, (long)count * Parts * HeadSize);
}
