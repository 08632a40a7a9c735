using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// N rows, I inputs, O outputs, r rank

/// <summary>
/// DoRA (arXiv 2402.09353): with V = W + s B A, y = m / |V| · (x Vᵀ) + b, where |V| is the 2-norm of each row of V and m is a trained
/// magnitude for each row, which starts at |W|. |V| counts as a constant in the gradient (section 4.3 of the paper), but it is recomputed
/// whenever A or B change.
/// </summary>
/// <remarks>
/// V is never built: |V|² = |W|² + 2 s Σ B (W Aᵀ) + s² Σ B (A Aᵀ) B, so a norm costs a product with r rows. While A and B are not trained
/// it is computed only once. The gradient of m needs x Vᵀ, which is not kept but recomputed tile by tile.
/// </remarks>
internal sealed class DoraAdapter : LoraAdapter
{
    /// <summary>Suffix of the magnitudes' name after the layer's; PEFT has no <c>.weight</c> there.</summary>
    internal const string MagnitudeSuffix = ".lora_magnitude_vector";

    private readonly Lock _known = new();
    private Tensor? _squares, // of W's rows, [O] fp64
        _norms; // [O], of the values below
    private (Tensor A, long VersionOfA, Tensor B, long VersionOfB)? _normsOf;

    /// <summary>Makes an adapter from its parts.</summary>
    /// <param name="a">A [r, I], fp32.</param>
    /// <param name="b">B [O, r], fp32.</param>
    /// <param name="magnitude">m [O], fp32.</param>
    /// <param name="alpha">As for LoRA.</param>
    /// <param name="rankStabilized">As for LoRA.</param>
    public DoraAdapter(Weight a, Weight b, Weight magnitude, double alpha, bool rankStabilized = false)
        : base(a, b, alpha, rankStabilized) => Magnitude = magnitude;

    /// <summary>m [O].</summary>
    public Weight Magnitude { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<Weight> Weights => [A, B, Magnitude];

    /// <inheritdoc/>
    public override Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var scale = outputs.Of(Magnitude.Value, 0).div(Norms(projection, outputs));
        var output = base.Forward(projection, rows, outputs);
        output = is_grad_enabled() ? output.mul(scale).to(rows.dtype) : output.mul_(scale);
        if (projection.Bias is { } own)
        {
            // The bias is a part of the output above, and is not scaled: (1 - scale) b is added.
            var bias = outputs.Of(own.Value, 0).to(ScalarType.Float32);
            output.add_(bias.sub(bias.mul(scale)).to(rows.dtype), Scalars.One);
        }
        return output.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override void AccumulateGradients(IProjection projection, Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var norms = Norms(projection, outputs);
        projection.AccumulateGradients(rows, gradient, outputs); // of the bias: the matrix is frozen
        if (Magnitude.IsTrained)
        {
            var output = base.Forward(projection, rows, outputs); // x Vᵀ + b
            if (projection.Bias is { } bias)
                output.sub_(outputs.Of(bias.Value, 0).to(rows.dtype));
            outputs.Of(Magnitude.GetGradient(), 0).add_(output.mul_(gradient).sum(0, type: ScalarType.Float32).div_(norms), Scalars.One);
        }
        AccumulatePair(rows, Scaled(gradient, norms, outputs), outputs);
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
        return base.ComputeInputGradient(projection, Scaled(gradient, Norms(projection, outputs), outputs), inputs, outputs)
            .MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor Merge(IProjection projection)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var merged = base.Merge(projection);
        return merged.mul_(Magnitude.Value.div(Norms(projection, null)).unsqueeze(1)).MoveToOuterDisposeScope();
    }

    /// <summary>The sum of squares of each row of a matrix, [O] fp64.</summary>
    internal static Tensor ComputeRowSquares(IProjection projection)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var dense = projection.ToDense();
        return dense.mul_(dense).sum(1, type: ScalarType.Float64).MoveToOuterDisposeScope();
    }

    private Tensor Scaled(Tensor gradient, Tensor norms, FeatureSlice? outputs) =>
        gradient.mul(outputs.Of(Magnitude.Value, 0).div(norms)).to(gradient.dtype);

    // |V| of the requested rows, [O] fp32, outside autograd.
    private Tensor Norms(IProjection projection, FeatureSlice? outputs)
    {
        using var noGradient = no_grad();
        if (A.IsTrained || B.IsTrained)
            return ComputeNorms(projection, outputs);
        lock (_known)
        {
            var (versionOfA, versionOfB) = (Dispatcher.GetVersion(A.Value), Dispatcher.GetVersion(B.Value));
            var isKnown =
                _normsOf is var (a, ofA, b, ofB)
                && ReferenceEquals(a, A.Value)
                && ofA == versionOfA
                && ReferenceEquals(b, B.Value)
                && ofB == versionOfB;
            if (_norms is null || !isKnown)
            {
                _norms?.Dispose();
                (_norms, _normsOf) = (ComputeNorms(projection, null).DetachFromDisposeScope(), (A.Value, versionOfA, B.Value, versionOfB));
            }
            return outputs.Of(_norms.alias(), 0);
        }
    }

    private Tensor ComputeNorms(IProjection projection, FeatureSlice? outputs)
    {
        using var scope = NewDisposeScope();
        _squares ??= ComputeRowSquares(projection).DetachFromDisposeScope();
        var (a, b) = (A.Value.detach(), outputs.Of(B.Value.detach(), 0));
        var cross = projection.Forward(a, outputs).t(); // W Aᵀ + b, [O, r]
        if (projection.Bias is { } bias)
            cross = cross.sub(outputs.Of(bias.Value.detach(), 0).to(cross.dtype).unsqueeze(1));
        var sum = cross.mul(Scalars.Of(2 * Scale)).add_(b.mm(a.mm(a.t())), Scalars.Of(Scale * Scale)).mul_(b);
        return sum.sum(1, type: ScalarType.Float64)
            .add_(outputs.Of(_squares, 0), Scalars.One)
            .sqrt_()
            .to(ScalarType.Float32)
            .MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        if (disposing)
        {
            _squares?.Dispose();
            _norms?.Dispose();
        }
    }
}
