using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

// B batch, L tokens, D model size, V vocabulary

/// <summary>Looks up one row for each token id.</summary>
/// <param name="weight">[V, D].</param>
public sealed class EmbeddingLayer(Weight weight)
{
    /// <summary>[V, D].</summary>
    public Weight Weight { get; } = weight;

    /// <summary>[B, L] ids -> [B, L, D] of <paramref name="type"/>.</summary>
    public Tensor Forward(Tensor ids, ScalarType type)
    {
        using var scope = NewDisposeScope();
        var rows = Weight.Value.index_select(0, ids.flatten()).In(type);
        return rows.view([.. ids.shape, Weight.Shape[1]]).MoveToOuterDisposeScope();
    }

    /// <summary>Adds the gradient [B, L, D] of the rows to that of the table, if it is trained.</summary>
    public void Backward(Tensor ids, Tensor gradient)
    {
        if (!Weight.IsTrained)
            return;
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        Weight.Gradient().index_add_(0, ids.flatten(), gradient.reshape(-1, Weight.Shape[1]).to(ScalarType.Float32), Scalars.One);
    }
}
