using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// N rows, I inputs, O outputs, r rank

/// <summary>
/// LoRA (arXiv 2106.09685): adds s · (x Aᵀ) Bᵀ to a linear layer, s = alpha / r. B starts at zero, so a new adapter changes nothing.
/// </summary>
internal class LoraAdapter : ILinearUpdate, IDisposable
{
    /// <summary>Creates an adapter from its matrices.</summary>
    /// <param name="a">A [r, I], fp32.</param>
    /// <param name="b">B [O, r], fp32.</param>
    /// <param name="alpha">alpha; the update is scaled by alpha / r.</param>
    /// <param name="rankStabilized">Whether it is scaled by alpha / sqrt(r) instead (rsLoRA, arXiv 2312.03732).</param>
    /// <param name="bias">[O], fp32, added to B's product and scaled with it (PEFT's <c>lora_bias</c>); null for none.</param>
    public LoraAdapter(Weight a, Weight b, double alpha, bool rankStabilized = false, Weight? bias = null)
    {
        if (a.Shape.Count != 2 || b.Shape.Count != 2 || a.Shape[0] != b.Shape[1])
            throw new Runtime.ShapeException(
                $"LoRA needs A [r, I] and B [O, r], but got {a.Name} [{string.Join(", ", a.Shape)}] and {b.Name} "
                    + $"[{string.Join(", ", b.Shape)}]."
            );
        (A, B, Bias, Scale) = (a, b, bias, ComputeScale(alpha, a.Shape[0], rankStabilized));
    }

    /// <summary>A [r, I].</summary>
    public Weight A { get; }

    /// <summary>B [O, r].</summary>
    public Weight B { get; }

    /// <summary>[O], added to B's product; null for none.</summary>
    public Weight? Bias { get; }

    /// <summary>s = alpha / r, or alpha / sqrt(r) with rsLoRA.</summary>
    public double Scale { get; }

    /// <summary>Its trained weights, in the order in which they are stored and saved.</summary>
    public virtual IReadOnlyList<Weight> Weights => Bias is null ? [A, B] : [A, B, Bias];

    /// <summary>Its rank as plain LoRA on the unchanged matrix.</summary>
    internal virtual long PlainRank => A.Shape[0];

    /// <summary>alpha / r or alpha / sqrt(r).</summary>
    internal static double ComputeScale(double alpha, long rank, bool rankStabilized) => alpha / (rankStabilized ? Math.Sqrt(rank) : rank);

    /// <summary>A of the equivalent plain LoRA on the unchanged matrix, with the same s; the caller disposes it.</summary>
    internal virtual Tensor MakePlainA() => A.Value.alias();

    /// <summary>B of the equivalent plain LoRA on the unchanged matrix, with the same s; the caller disposes it.</summary>
    internal virtual Tensor MakePlainB() => B.Value.alias();

    /// <inheritdoc/>
    public virtual Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var output = projection.Forward(rows, outputs);
        var narrow = Products.Linear(rows, A.Value.to(rows.dtype)); // [N, I] -> [N, r]
        output.AddTimes(narrow, outputs.Of(B.Value, 0).to(rows.dtype).t(), Scale);
        if (Bias is not null)
            output.add_(outputs.Of(Bias.Value, 0).to(rows.dtype), Scalars.Of(Scale));
        return output.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public virtual void AccumulateGradients(IProjection projection, Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        projection.AccumulateGradients(rows, gradient, outputs);
        AccumulatePair(rows, gradient, outputs);
    }

    /// <inheritdoc/>
    public virtual Tensor ComputeInputGradient(
        IProjection projection,
        Tensor gradient,
        FeatureSlice? inputs = null,
        FeatureSlice? outputs = null
    )
    {
        using var scope = NewDisposeScope();
        var result = projection.ComputeInputGradient(gradient, inputs, outputs);
        var narrow = gradient.Times(outputs.Of(B.Value, 0).to(gradient.dtype)); // [N, O] -> [N, r]
        result.AddTimes(narrow, inputs.Of(A.Value, 1).to(gradient.dtype), Scale);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>What it adds to W: s B A, [O, I] in fp32.</summary>
    public virtual Tensor Delta()
    {
        using var noGradient = no_grad();
        return B.Value.to(ScalarType.Float32).mm(A.Value.to(ScalarType.Float32)).mul_(Scalars.Of(Scale));
    }

    /// <inheritdoc/>
    public virtual Tensor Merge(IProjection projection)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return projection.ToDense().add_(Delta(), Scalars.One).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor? MergeBias(IProjection projection)
    {
        if (Bias is null)
            return null;
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var sum = projection.Bias is { } own ? own.Value.to(ScalarType.Float32, copy: true) : zeros_like(Bias.Value);
        return sum.add_(Bias.Value, Scalars.Of(Scale)).detach().MoveToOuterDisposeScope();
    }

    /// <summary>Adds the gradients of A, B and the bias, given the gradient of the layer's output.</summary>
    private protected void AccumulatePair(Tensor rows, Tensor gradient, FeatureSlice? outputs)
    {
        using var scope = NewDisposeScope();
        if (B.IsTrained)
            DenseProjection.AddProduct(outputs.Of(B.GetGradient(), 0), gradient.t(), rows.Times(A.Value.to(rows.dtype).t()), Scale);
        if (A.IsTrained)
            DenseProjection.AddProduct(A.GetGradient(), gradient.Times(outputs.Of(B.Value, 0).to(rows.dtype)).t(), rows, Scale);
        if (Bias is { IsTrained: true })
            outputs.Of(Bias.GetGradient(), 0).add_(gradient.sum(0, type: ScalarType.Float32), Scalars.Of(Scale));
    }

    /// <summary>Frees its tensors.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees its tensors.</summary>
    /// <param name="disposing">True when called from Dispose.</param>
    protected virtual void Dispose(bool disposing)
    {
        foreach (var weight in disposing ? Weights : [])
            weight.Dispose();
    }
}
