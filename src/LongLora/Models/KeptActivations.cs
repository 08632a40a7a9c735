using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows

/// <summary>
/// What one block's forward pass computed, for its backward pass. Both ask for each result in the same way, tile by tile: the first gets it
/// computed and, if it is of a kind that is kept, the second finds it. So results have the same bits whatever is kept.
/// </summary>
/// <param name="kinds">What is kept.</param>
internal sealed class KeptActivations(ActivationKinds kinds) : IDisposable
{
    private readonly Dictionary<(object Source, long FirstRow), Tensor> _outputs = [];
    private readonly Dictionary<int, (Workspace Buffers, AttentionInputs Heads)> _heads = [];

    /// <summary>Keeps nothing.</summary>
    internal static KeptActivations None { get; } = new(ActivationKinds.None);

    /// <summary>Bytes of what is kept now.</summary>
    internal long ByteCount =>
        _outputs
            .Values.Concat(_heads.Values.SelectMany(h => new[] { h.Heads.Query, h.Heads.Key, h.Heads.Value }))
            .Sum(t => t.numel() * t.element_size());

    /// <summary>The tile whose first row is <paramref name="firstRow"/>.</summary>
    internal KeptTile SelectTile(long firstRow) => new(this, firstRow);

    /// <summary>Queries, keys and values of some heads.</summary>
    /// <param name="firstGroup">The first head group.</param>
    /// <param name="shared">Buffers for what is not kept.</param>
    /// <param name="compute">Computes them into buffers; outside autograd.</param>
    internal AttentionInputs RecallHeads(int firstGroup, Workspace shared, Func<Workspace, AttentionInputs> compute)
    {
        if (!kinds.HasFlag(ActivationKinds.Heads))
            return compute(shared);
        if (!_heads.TryGetValue(firstGroup, out var known))
        {
            var own = new Workspace();
            _heads[firstGroup] = (own, default); // disposed whatever happens
            _heads[firstGroup] = known = (own, Change(compute(own), t => t.DetachFromDisposeScope()));
        }
        return Change(known.Heads, t => t.alias());
    }

    /// <summary>The output of a layer for a tile, [N, O].</summary>
    internal Tensor Run(ActivationKinds kind, LinearLayer layer, long firstRow, Func<Tensor> input)
    {
        // The matrix as it is makes no temporary tensors beside the result.
        bool IsDirect(Tensor rows) =>
            rows.device_type == DeviceType.CPU && layer.Projection is DenseProjection dense && dense.Weight.Value.dtype == rows.dtype;
        return Recall(
            kind,
            layer,
            firstRow,
            () => layer.Forward(input()),
            () =>
            {
                var rows = input();
                return IsDirect(rows) ? HostMemory.AllocateApart(() => layer.Forward(rows)) : MakeLasting(layer.Forward(rows));
            }
        );
    }

    /// <summary>Another result for a tile.</summary>
    internal Tensor Recall(ActivationKinds kind, object source, long firstRow, Func<Tensor> compute) =>
        Recall(kind, source, firstRow, compute, () => MakeLasting(compute()));

    private Tensor Recall(ActivationKinds kind, object source, long firstRow, Func<Tensor> compute, Func<Tensor> computeToKeep)
    {
        if (!kinds.HasFlag(kind))
            return compute();
        if (!_outputs.TryGetValue((source, firstRow), out var known))
        {
            using var scope = NewDisposeScope();
            _outputs[(source, firstRow)] = known = computeToKeep().detach().DetachFromDisposeScope();
        }
        return known.alias();
    }

    // Results of operations lie on the heap, between short-lived ones.
    private static Tensor MakeLasting(Tensor result) =>
        result.device_type == DeviceType.CPU ? HostMemory.AllocateApart(result.clone) : result;

    private static AttentionInputs Change(AttentionInputs inputs, Func<Tensor, Tensor> change) =>
        inputs with
        {
            Query = change(inputs.Query),
            Key = change(inputs.Key),
            Value = change(inputs.Value),
        };

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var output in _outputs.Values)
            output.Dispose();
        foreach (var (buffers, heads) in _heads.Values)
        {
            heads.Query?.Dispose();
            heads.Key?.Dispose();
            heads.Value?.Dispose();
            buffers.Dispose();
        }
        _outputs.Clear();
        _heads.Clear();
    }
}
