using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Distributed;

/// <summary>The ranks that one id of the stand-in joins.</summary>
/// <param name="size">Ranks.</param>
internal sealed class StandInGroup(int size)
{
    private readonly Dictionary<int, List<StandInOperation>> _calls = [];
    private readonly Dictionary<(int From, int To), Queue<StandInOperation>> _messages = [];

    internal int Size => size;

    /// <summary>Ranks that have joined.</summary>
    internal int Joined { get; set; }

    /// <summary>One rank has come to an operation; the last one carries it out.</summary>
    internal void Arrive(StandInOperation operation)
    {
        if (operation.CarryOut is not null)
        {
            if (!_calls.TryGetValue(operation.Number, out var call))
                _calls[operation.Number] = call = [];
            call.Add(operation);
            if (call.Count < size)
                return;
            _calls.Remove(operation.Number);
            call.Sort((a, b) => a.Rank.CompareTo(b.Rank));
            using (NewDisposeScope())
                operation.CarryOut(call);
            call.ForEach(o => o.IsDone = true);
            return;
        }
        var (from, to) = operation.IsSend ? (operation.Rank, operation.Peer) : (operation.Peer, operation.Rank);
        if (!_messages.TryGetValue((from, to), out var queue))
            _messages[(from, to)] = queue = new();
        if (!queue.TryPeek(out var other) || other.IsSend == operation.IsSend)
        {
            queue.Enqueue(operation);
            return;
        }
        queue.Dequeue();
        Assert.Equal(other.Bytes, operation.Bytes);
        var (send, receive) = operation.IsSend ? (operation, other) : (other, operation);
        using (NewDisposeScope())
            At(receive.To, ScalarType.Byte, receive.Bytes).copy_(At(send.From, ScalarType.Byte, send.Bytes));
        send.IsDone = receive.IsDone = true;
    }

    /// <summary>The memory at an address as a tensor.</summary>
    internal static Tensor At(nint address, ScalarType type, long count) => NativeTensor.FromMemory(address, type, [count]);
}
