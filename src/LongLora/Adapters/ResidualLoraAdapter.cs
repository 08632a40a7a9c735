using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// N rows, I inputs, O outputs, r rank

/// <summary>
/// LoRA on the residual of a matrix, as in PiSSA and OLoRA: A and B start from a part of W, which is subtracted from W, so
/// y = x (W - s B₀ A₀)ᵀ + s (x Aᵀ) Bᵀ + b.
/// </summary>
/// <remarks>
/// W itself is not changed; the part is subtracted when W is used. This costs r more rows, needs no copy of W and rounds nothing. It makes
/// the adapter plain LoRA of rank 2 r on the unchanged base, and it is saved as such: [A; A₀] and [B, -B₀].
/// </remarks>
internal sealed class ResidualLoraAdapter : LoraAdapter
{
    private readonly Tensor _initialA,
        _initialB;

    /// <summary>Creates an adapter from its parts.</summary>
    /// <param name="a">A [r, I], fp32.</param>
    /// <param name="b">B [O, r], fp32.</param>
    /// <param name="initialA">A₀ [r, I], fp32; the adapter owns it.</param>
    /// <param name="initialB">B₀ [O, r], fp32; the adapter owns it.</param>
    /// <param name="alpha">As for LoRA.</param>
    /// <param name="rankStabilized">As for LoRA.</param>
    public ResidualLoraAdapter(Weight a, Weight b, Tensor initialA, Tensor initialB, double alpha, bool rankStabilized = false)
        : base(a, b, alpha, rankStabilized) =>
        (_initialA, _initialB) = (initialA.DetachFromDisposeScope(), initialB.DetachFromDisposeScope());

    internal override long PlainRank => 2 * A.Shape[0];

    internal override Tensor MakePlainA()
    {
        using var noGradient = no_grad();
        return cat([A.Value, _initialA], 0);
    }

    internal override Tensor MakePlainB()
    {
        using var noGradient = no_grad();
        using var negative = _initialB.neg();
        return cat([B.Value, negative], 1);
    }

    /// <inheritdoc/>
    public override Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var output = base.Forward(projection, rows, outputs);
        var narrow = nn.functional.linear(rows, _initialA.to(rows.dtype));
        output.addmm_(narrow, outputs.Of(_initialB, 0).to(rows.dtype).t(), 1, -(float)Scale);
        return output.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor ComputeInputGradient(
        IProjection projection,
        Tensor gradient,
        FeatureSlice? inputs = null,
        FeatureSlice? outputs = null
    )
    {
        using var scope = NewDisposeScope();
        var result = base.ComputeInputGradient(projection, gradient, inputs, outputs);
        var narrow = gradient.mm(outputs.Of(_initialB, 0).to(gradient.dtype));
        result.addmm_(narrow, inputs.Of(_initialA, 1).to(gradient.dtype), 1, -(float)Scale);
        return result.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Delta()
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return base.Delta().add_(_initialB.mm(_initialA), Scalars.Of(-Scale)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        if (disposing)
        {
            _initialA.Dispose();
            _initialB.Dispose();
        }
    }
}
