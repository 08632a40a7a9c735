using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Layers;

// B batch, L tokens, D model size, V vocabulary

/// <summary>Looks up one row for each token id.</summary>
/// <param name="weight">[V, D].</param>
/// <param name="factor">Factor on the rows (Gemma, Granite).</param>
internal sealed class EmbeddingLayer(Weight weight, double factor = 1)
{
    private const long TileElements = 4 << 20;

    /// <summary>[V, D].</summary>
    public Weight Weight { get; } = weight;

    /// <summary>The trained update, if one is attached.</summary>
    public IEmbeddingUpdate? Update { get; set; }

    /// <summary>[B, L] ids -> [B, L, D] of <paramref name="type"/>.</summary>
    /// <exception cref="DataException">An id is not in 0..V-1.</exception>
    public Tensor Forward(Tensor ids, ScalarType type)
    {
        using var scope = NewDisposeScope();
        var (flat, width) = (ids.flatten(), Weight.Shape[1]);
        RequireKnown(flat);
        var rows = Weight.Value.dtype == type ? Weight.Value.index_select(0, flat) : empty([flat.numel(), width], type, flat.device);
        if (Weight.Value.dtype != type)
            ForEachTile(flat.numel(), (start, count) =>
                rows.narrow(0, start, count).copy_(Weight.Value.index_select(0, flat.narrow(0, start, count)))
            );
        Update?.ApplyTo(rows, flat);
        if (factor != 1)
            rows = is_grad_enabled() ? rows.mul(Scalars.Of(factor)) : rows.mul_(Scalars.Of(factor));
        return rows.view([.. ids.shape, width]).MoveToOuterDisposeScope();
    }

    /// <summary>Adds the gradient [B, L, D] of the rows to the gradients of the table and its update, if they are trained.</summary>
    public void Backward(Tensor ids, Tensor gradient)
    {
        if (!Weight.IsTrained && Update is null)
            return;
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var (flat, rows) = (ids.flatten(), gradient.reshape(-1, Weight.Shape[1]));
        if (Update is { } update)
            ForEachTile(flat.numel(), (start, count) =>
            {
                var own = rows.narrow(0, start, count);
                update.AccumulateGradients(flat.narrow(0, start, count), factor == 1 ? own : own.mul(Scalars.Of(factor)));
            });
        if (!Weight.IsTrained)
            return;
        var target = Weight.GetGradient();
        ForEachTile(flat.numel(), (start, count) =>
            target.index_add_(0, flat.narrow(0, start, count), rows.narrow(0, start, count).to(ScalarType.Float32), Scalars.Of(factor))
        );
    }

    /// <summary>The table with the update merged in: [V, D], a copy in fp32.</summary>
    public Tensor Merge()
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var table = Weight.Value.detach().to(ScalarType.Float32, copy: true);
        return (Update?.Merge(table) ?? table).MoveToOuterDisposeScope();
    }

    // libtorch would throw an error of its own, and on a GPU one after which the process cannot go on.
    private unsafe void RequireKnown(Tensor ids)
    {
        if (ids.device_type == DeviceType.META)
            return;
        using var here = ids.cpu();
        var all = new ReadOnlySpan<long>((long*)NativeTensor.GetPointer(here), (int)here.numel());
        for (var i = 0; i < all.Length; i++)
            if (all[i] < 0 || all[i] >= Weight.Shape[0])
                throw new DataException($"Token {i} is {all[i]}, but the model has ids 0 to {Weight.Shape[0] - 1}.");
    }

    // If the types differ, this avoids a copy of the whole text in the wider type.
    private void ForEachTile(long total, Action<long, long> action)
    {
        var tile = Math.Max(1, TileElements / Weight.Shape[1]);
        for (long start = 0; start < total; start += tile)
        {
            using var scope = NewDisposeScope();
            action(start, Math.Min(tile, total - start));
        }
    }
}
