using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// N rows, I inputs, O outputs, r rank

/// <summary>
/// LoRA (arXiv 2106.09685): adds s · (x Aᵀ) Bᵀ to a linear layer, s = alpha / r. B begins at zero, so a new adapter changes nothing.
/// </summary>
public sealed class LoraAdapter : ILinearUpdate
{
    /// <summary>Makes an adapter from its two matrices.</summary>
    /// <param name="a">A [r, I], fp32.</param>
    /// <param name="b">B [O, r], fp32.</param>
    /// <param name="alpha">alpha; the update is scaled by alpha / r.</param>
    public LoraAdapter(Weight a, Weight b, double alpha)
    {
        if (a.Shape.Count != 2 || b.Shape.Count != 2 || a.Shape[0] != b.Shape[1])
            throw new Runtime.ShapeException($"LoRA needs A [r, I] and B [O, r]; seen {a.Name} [{string.Join(", ", a.Shape)}] and {b.Name} [{string.Join(", ", b.Shape)}].");
        (A, B, Scale) = (a, b, alpha / a.Shape[0]);
    }

    /// <summary>A [r, I].</summary>
    public Weight A { get; }

    /// <summary>B [O, r].</summary>
    public Weight B { get; }

    /// <summary>s = alpha / r.</summary>
    public double Scale { get; }

    /// <inheritdoc/>
    public void AddTo(Tensor output, Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var narrow = nn.functional.linear(rows, A.Value.to(rows.dtype)); // [N, I] -> [N, r]
        var b = outputs is { } o ? B.Value.narrow(0, o.Start, o.Count) : B.Value;
        output.addmm_(narrow, b.to(rows.dtype).t(), 1, (float)Scale);
    }

    /// <inheritdoc/>
    public void AccumulateGradients(Tensor rows, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        if (B.IsTrained)
            DenseProjection.AddProduct(B.Gradient(), gradient.t(), rows.mm(A.Value.to(rows.dtype).t()), Scale);
        if (A.IsTrained)
            DenseProjection.AddProduct(A.Gradient(), gradient.mm(B.Value.to(rows.dtype)).t(), rows, Scale);
    }

    /// <inheritdoc/>
    public void AddInputGradient(Tensor gradient, Tensor inputGradient, FeatureSlice? inputs = null)
    {
        using var scope = NewDisposeScope();
        var a = inputs is { } i ? A.Value.narrow(1, i.Start, i.Count) : A.Value;
        inputGradient.addmm_(gradient.mm(B.Value.to(gradient.dtype)), a.to(gradient.dtype), 1, (float)Scale);
    }

    /// <inheritdoc/>
    public Tensor Delta()
    {
        using var noGradient = no_grad();
        return B.Value.to(ScalarType.Float32).mm(A.Value.to(ScalarType.Float32)).mul_(Scale);
    }
}
