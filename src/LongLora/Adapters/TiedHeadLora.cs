using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// N rows, V vocabulary, D model size, r rank

/// <summary>
/// The LoRA of a token table in the head that is tied to it: the head's matrix is the table, so its pair is the table's pair transposed,
/// with the same weights. Their gradients add up.
/// </summary>
/// <param name="table">The table's LoRA.</param>
internal sealed class TiedHeadLora(EmbeddingLora table) : ILinearUpdate
{
    public Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var output = projection.Forward(rows, outputs);
        var narrow = rows.mm(table.B.Value.to(rows.dtype)); // [N, D] -> [N, r]
        output.addmm_(narrow, outputs.Of(table.A.Value, 1).to(rows.dtype), 1, (float)table.Scale);
        return output.MoveToOuterDisposeScope();
    }

    public void AccumulateGradients(IProjection projection, Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        projection.AccumulateGradients(rows, gradient, outputs);
        var (a, b) = (outputs.Of(table.A.Value, 1).to(rows.dtype), table.B.Value.to(rows.dtype));
        if (table.A.IsTrained)
            DenseProjection.AddProduct(outputs.Of(table.A.GetGradient(), 1), rows.mm(b).t(), gradient, table.Scale);
        if (table.B.IsTrained)
            DenseProjection.AddProduct(table.B.GetGradient(), rows.t(), gradient.mm(a.t()), table.Scale);
    }

    public Tensor ComputeInputGradient(IProjection projection, Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var result = projection.ComputeInputGradient(gradient, inputs, outputs);
        var narrow = gradient.mm(outputs.Of(table.A.Value, 1).to(gradient.dtype).t()); // [N, V] -> [N, r]
        result.addmm_(narrow, inputs.Of(table.B.Value, 0).to(gradient.dtype).t(), 1, (float)table.Scale);
        return result.MoveToOuterDisposeScope();
    }

    public Tensor Merge(IProjection projection)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return projection.ToDense().add_(table.Delta(), Scalars.One).MoveToOuterDisposeScope();
    }
}
