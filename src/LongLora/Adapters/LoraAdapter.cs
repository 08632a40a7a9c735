using LongLora.Layers;
using LongLora.Runtime;
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
            throw new Runtime.ShapeException(
                $"LoRA needs A [r, I] and B [O, r]; seen {a.Name} [{string.Join(", ", a.Shape)}] and {b.Name} "
                    + $"[{string.Join(", ", b.Shape)}]."
            );
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
        output.addmm_(narrow, outputs.Of(B.Value, 0).to(rows.dtype).t(), 1, (float)Scale);
    }

    /// <inheritdoc/>
    public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        if (B.IsTrained)
            DenseProjection.AddProduct(outputs.Of(B.GetGradient(), 0), gradient.t(), rows.mm(A.Value.to(rows.dtype).t()), Scale);
        if (A.IsTrained)
            DenseProjection.AddProduct(A.GetGradient(), gradient.mm(outputs.Of(B.Value, 0).to(rows.dtype)).t(), rows, Scale);
    }

    /// <inheritdoc/>
    public void AddInputGradient(Tensor gradient, Tensor inputGradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var narrow = gradient.mm(outputs.Of(B.Value, 0).to(gradient.dtype)); // [N, O] -> [N, r]
        inputGradient.addmm_(narrow, inputs.Of(A.Value, 1).to(gradient.dtype), 1, (float)Scale);
    }

    /// <inheritdoc/>
    public Tensor Delta()
    {
        using var noGradient = no_grad();
        return B.Value.to(ScalarType.Float32).mm(A.Value.to(ScalarType.Float32)).mul_(Scalars.Of(Scale));
    }
}
