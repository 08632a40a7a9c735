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
/// <param name="memory">Where it is kept. Step after step uses the same memory.</param>
/// <param name="keepsAttended">Whether <paramref name="memory"/> also takes the result of attention.</param>
internal sealed class KeptActivations(ActivationKinds kinds, Workspace memory, bool keepsAttended = false) : IDisposable
{
    private readonly Dictionary<(object Source, long FirstRow), Tensor> _outputs = [];
    private readonly Dictionary<int, AttentionInputs> _heads = [];

    /// <summary>Keeps nothing.</summary>
    internal static KeptActivations None { get; } = new(ActivationKinds.None, new());

    /// <summary>Memory for the result of attention, which the backward pass needs; null if it is not kept here.</summary>
    internal Workspace? AttendedMemory => keepsAttended ? memory : null;

    /// <summary>Bytes of what is kept now.</summary>
    internal long ByteCount =>
        _outputs.Values.Concat(_heads.Values.SelectMany(h => new[] { h.Query, h.Key, h.Value })).Sum(t => t.numel() * t.element_size());

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
            var own = memory.OpenSection($"heads {firstGroup}");
            _heads[firstGroup] = known = Change(compute(own), t => t.DetachFromDisposeScope());
        }
        return Change(known, t => t.alias());
    }

    /// <summary>The output of a layer for a tile, [N, O].</summary>
    internal Tensor Run(ActivationKinds kind, LinearLayer layer, long firstRow, Func<Tensor> input) =>
        Recall(
            kind,
            layer,
            firstRow,
            () => layer.Forward(input()),
            () =>
            {
                var rows = input();
                // An expert has another number of rows in each step.
                if (rows.device_type != DeviceType.CPU || layer.Share < 1)
                    return Copy(layer.Forward(rows), layer.Share < 1);
                var result = memory.Take(NextName, rows.dtype, rows.device, rows.size(0), layer.OutputSize);
                layer.ForwardInto(rows, result);
                return result;
            }
        );

    /// <summary>Another result for a tile.</summary>
    internal Tensor Recall(ActivationKinds kind, object source, long firstRow, Func<Tensor> compute) =>
        Recall(kind, source, firstRow, compute, () => Copy(compute()));

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

    // A step asks for the same results in the same order as the one before.
    private string NextName => $"result {_outputs.Count}";

    // Results of operations lie on the heap, between short-lived ones.
    private Tensor Copy(Tensor result, bool isOfExpert = false) =>
        result.device_type != DeviceType.CPU ? result
        : isOfExpert ? HostMemory.AllocateApart(result.clone)
        : memory.TakeLike(NextName, result).copy_(result);

    private static AttentionInputs Change(AttentionInputs inputs, Func<Tensor, Tensor> change) =>
        inputs with
        {
            Query = change(inputs.Query),
            Key = change(inputs.Key),
            Value = change(inputs.Value),
        };

    /// <summary>Forgets what is kept; the memory stays.</summary>
    public void Dispose()
    {
        foreach (var output in _outputs.Values)
            output.Dispose();
        foreach (var heads in _heads.Values)
        {
            heads.Query.Dispose();
            heads.Key.Dispose();
            heads.Value.Dispose();
        }
        _outputs.Clear();
        _heads.Clear();
    }
}
