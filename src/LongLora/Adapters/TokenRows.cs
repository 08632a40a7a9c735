using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Adapters;

// N ids or rows, n tokens with rows of their own, V vocabulary, D model size

/// <summary>
/// Trained rows for some tokens (PEFT's <c>trainable_token_indices</c>). They replace rows of the table or of the head, and the rest of the
/// matrix stays frozen. A table and a head that is tied to it share one object.
/// </summary>
internal sealed class TokenRows : IEmbeddingUpdate, ILinearUpdate, IDisposable
{
    private readonly Tensor _ids, // [n]
        _rowOf; // [V]: which row an id has, -1 for none

    /// <summary>Makes the rows.</summary>
    /// <param name="rows">[n, D], fp32.</param>
    /// <param name="ids">n different ids.</param>
    /// <param name="vocabulary">V.</param>
    internal TokenRows(Weight rows, IReadOnlyList<long> ids, long vocabulary)
    {
        var rowOf = Enumerable.Repeat(-1L, (int)vocabulary).ToArray();
        for (var i = 0; i < ids.Count; i++)
            rowOf[ids[i]] = i;
        (Rows, Ids) = (rows, ids);
        _ids = tensor(ids.ToArray(), device: rows.Value.device).DetachFromDisposeScope();
        _rowOf = tensor(rowOf, device: rows.Value.device).DetachFromDisposeScope();
    }

    /// <summary>[n, D].</summary>
    internal Weight Rows { get; }

    /// <summary>The tokens of the rows, in order.</summary>
    internal IReadOnlyList<long> Ids { get; }

    public ILinearUpdate ForTiedHead => this;

    public void ApplyTo(Tensor rows, Tensor ids)
    {
        using var scope = NewDisposeScope();
        var (places, of) = Find(ids);
        if (places.numel() > 0)
            rows.index_copy_(0, places, Rows.Value.index_select(0, of).to(rows.dtype));
    }

    public void AccumulateGradients(Tensor ids, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        var (places, of) = Find(ids);
        if (Rows.IsTrained && places.numel() > 0)
            Rows.GetGradient().index_add_(0, of, gradient.index_select(0, places).to(ScalarType.Float32), Scalars.One);
    }

    public Tensor Merge(Tensor table) => table.index_copy_(0, _ids, Rows.Value.detach());

    public Tensor Forward(IProjection projection, Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        RequireWhole(outputs);
        var output = projection.Forward(rows);
        var own = rows.mm(Rows.Value.to(rows.dtype).t()); // [N, D] -> [N, n]
        if (projection.Bias is { } bias)
            own = own.add(bias.Value.index_select(0, _ids).to(rows.dtype), Scalars.One);
        return output.index_copy_(1, _ids, own).MoveToOuterDisposeScope();
    }

    public void AccumulateGradients(IProjection projection, Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        RequireWhole(outputs);
        projection.AccumulateGradients(rows, gradient); // of the bias: the matrix is frozen
        if (Rows.IsTrained)
            DenseProjection.AddProduct(Rows.GetGradient(), gradient.index_select(1, _ids).t(), rows, 1);
    }

    public Tensor ComputeInputGradient(IProjection projection, Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        RequireWhole(outputs);
        // The matrix gets no gradient from the columns of these tokens. They are set to zero and restored, which avoids a copy of [N, V].
        var own = gradient.index_select(1, _ids);
        gradient.index_fill_(1, _ids, Scalars.Zero);
        var result = projection.ComputeInputGradient(gradient, inputs);
        gradient.index_copy_(1, _ids, own);
        result.addmm_(own, inputs.Of(Rows.Value, 1).to(gradient.dtype), 1, 1);
        return result.MoveToOuterDisposeScope();
    }

    public Tensor Merge(IProjection projection)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return Merge(projection.ToDense()).MoveToOuterDisposeScope();
    }

    // Positions of ids with trained rows, and which rows.
    private (Tensor Places, Tensor Of) Find(Tensor ids)
    {
        var all = _rowOf.index_select(0, ids);
        var places = all.ge(Scalars.Zero).nonzero().squeeze(1);
        return (places, all.index_select(0, places));
    }

    private static void RequireWhole(FeatureSlice? outputs)
    {
        if (outputs is not null)
            throw new ShapeException("Cannot compute only some outputs because trained token rows replace whole columns of the logits.");
    }

    public void Dispose()
    {
        Rows.Dispose();
        _ids.Dispose();
        _rowOf.Dispose();
    }
}
