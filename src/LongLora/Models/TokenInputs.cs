using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, N = B L rows, D model size, n layers, P size of an input

/// <summary>
/// Computes per-layer inputs for each token (Gemma 4's per-layer embeddings): (norm(W e / sqrt(D)) + t) / sqrt(2), with the embedding e of
/// the token and a row t of a separate table.
/// </summary>
/// <param name="table">Rows of n P numbers.</param>
/// <param name="projection">W, [.., D] -> [.., n P].</param>
/// <param name="norm">Over P numbers.</param>
/// <param name="size">P.</param>
internal sealed class TokenInputs(EmbeddingLayer table, LinearLayer projection, INormLayer norm, long size)
{
    private readonly long _layers = projection.OutputSize / size;

    /// <summary>The table.</summary>
    internal Weight Table => table.Weight;

    /// <summary>[n, N, P]. Inside a graph it is differentiable and computed at once; otherwise in tiles of tokens.</summary>
    /// <param name="ids">[B, L].</param>
    /// <param name="hidden">[B, L, D] or [N, D], the embeddings of the ids.</param>
    internal Tensor Compute(Tensor ids, Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var (flat, rows) = (ids.flatten(), hidden.reshape(-1, projection.InputSize));
        if (is_grad_enabled())
            return Combine(rows, table.Forward(flat, hidden.dtype)).MoveToOuterDisposeScope();
        var result = HostMemory.AllocateApart(() => empty([_layers, rows.size(0), size], hidden.dtype, hidden.device));
        ForEachTile(rows, (start, count) =>
            result
                .narrow(1, start, count)
                .copy_(Combine(rows.narrow(0, start, count), table.Forward(flat.narrow(0, start, count), hidden.dtype)))
        );
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Adds the gradients of the weights, and those of the embeddings to <paramref name="hiddenGradient"/>. Outside autograd.
    /// </summary>
    /// <param name="ids">[B, L].</param>
    /// <param name="embedding">The model's.</param>
    /// <param name="gradient">Gradient of the result of <see cref="Compute"/>.</param>
    /// <param name="hiddenGradient">[B, L, D].</param>
    internal void Backward(Tensor ids, EmbeddingLayer embedding, Tensor gradient, Tensor hiddenGradient)
    {
        using var scope = NewDisposeScope();
        var (flat, rows) = (ids.flatten(), hiddenGradient.view(-1, projection.InputSize));
        ForEachTile(rows, (start, count) =>
        {
            var tokens = flat.narrow(0, start, count);
            var hidden = embedding.Forward(tokens, rows.dtype).requires_grad_(true);
            var own = table.Forward(tokens, rows.dtype).requires_grad_(true);
            using (enable_grad())
                Combine(hidden, own).backward([gradient.narrow(1, start, count)]);
            table.Backward(tokens, own.grad!);
            rows.narrow(0, start, count).add_(hidden.grad!, Scalars.One);
        });
    }

    // [N, D] and [N, n P] -> [n, N, P]
    private Tensor Combine(Tensor hidden, Tensor own)
    {
        var projected = projection.Forward(hidden).mul(Scalars.Of(1 / Math.Sqrt(projection.InputSize))).unflatten(1, [_layers, size]);
        return norm.Forward(projected).add(own.unflatten(1, [_layers, size]), Scalars.One).mul(Scalars.Of(Math.Sqrt(0.5))).transpose(0, 1);
    }

    private void ForEachTile(Tensor rows, Action<long, long> action) =>
        BlockPass.ForEachTile(rows, rows.size(0), projection.OutputSize, action);
}
