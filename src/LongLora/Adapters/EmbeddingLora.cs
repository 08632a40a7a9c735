using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// N ids, V vocabulary, D model size, r rank

/// <summary>LoRA on a token table: the row of id t becomes W[t] + s B A[:, t], that is W + s (B A)ᵀ.</summary>
/// <param name="a">A [r, V], fp32.</param>
/// <param name="b">B [D, r], fp32.</param>
/// <param name="scale">s.</param>
internal sealed class EmbeddingLora(Weight a, Weight b, double scale) : IEmbeddingUpdate
{
    private TiedHeadLora? _tied;

    /// <summary>A [r, V].</summary>
    internal Weight A { get; } = a;

    /// <summary>B [D, r].</summary>
    internal Weight B { get; } = b;

    /// <summary>s.</summary>
    internal double Scale { get; } = scale;

    public ILinearUpdate ForTiedHead => _tied ??= new TiedHeadLora(this);

    public void ApplyTo(Tensor rows, Tensor ids)
    {
        using var scope = NewDisposeScope();
        rows.addmm_(A.Value.index_select(1, ids).t().to(rows.dtype), B.Value.t().to(rows.dtype), 1, (float)Scale);
    }

    public void AccumulateGradients(Tensor ids, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        if (B.IsTrained)
            DenseProjection.AddProduct(B.GetGradient(), gradient.t(), A.Value.index_select(1, ids).t().to(gradient.dtype), Scale);
        if (A.IsTrained)
            A.GetGradient().index_add_(1, ids, gradient.mm(B.Value.to(gradient.dtype)).t().to(ScalarType.Float32), Scalars.Of(Scale));
    }

    public Tensor Merge(Tensor table) => table.add_(Delta(), Scalars.One);

    /// <summary>s (B A)ᵀ, [V, D].</summary>
    internal Tensor Delta()
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return A.Value.t().mm(B.Value.t()).mul_(Scalars.Of(Scale)).MoveToOuterDisposeScope();
    }
}
