namespace LongLora.Tests.Distributed;

/// <summary>One rank's part in an operation of the stand-in.</summary>
/// <param name="group">The ranks.</param>
/// <param name="rank">This one.</param>
/// <param name="from">Address of what it gives.</param>
/// <param name="to">Address of what it gets.</param>
internal sealed class StandInOperation(StandInGroup group, int rank, nint from, nint to)
{
    private bool _hasArrived;

    internal nint From => from;

    internal nint To => to;

    internal int Rank => rank;

    /// <summary>What all ranks' parts make together; null for a message.</summary>
    internal Action<IReadOnlyList<StandInOperation>>? CarryOut { get; init; }

    /// <summary>Number among the operations of all.</summary>
    internal int Number { get; init; }

    /// <summary>The other end of a message.</summary>
    internal int Peer { get; init; }

    internal bool IsSend { get; init; }

    internal long Bytes { get; init; }

    /// <summary>Set by whoever comes last.</summary>
    internal bool IsDone { get; set; }

    /// <summary>The stream of this rank has come here. Whether the others' have too, so that it is done.</summary>
    internal bool TryRun()
    {
        lock (group)
        {
            if (!_hasArrived)
                group.Arrive(this);
            _hasArrived = true;
            return IsDone;
        }
    }
}
