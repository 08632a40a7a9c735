using LongLora.Runtime;

namespace LongLora.Server;

/// <summary>
/// Bounds the memory that reading requests takes: bodies that are parsed, written by the template and encoded at the same time have so many
/// bytes together, and the next ones wait in the order in which they came. Small ones pass at once. After large ones, memory that is free
/// again goes back to the system.
/// </summary>
/// <param name="bytes">Bytes of the bodies that are read at the same time; a larger one is read alone.</param>
/// <param name="queue">Large bodies that may wait; further ones are refused.</param>
internal sealed class BodyRoom(long bytes, int queue)
{
    /// <summary>Bodies of at most so many bytes count as small.</summary>
    internal const int Small = 256 << 10;

    private const long GivenBackAfter = 8 << 20;

    private readonly Lock _lock = new();
    private readonly Queue<(long Bytes, TaskCompletionSource Turn)> _waiting = new();
    private long _taken,
        _sinceGivenBack;
    private int _large;

    /// <summary>Gives a large body its place in the line, from its first byte on; a small one needs none.</summary>
    /// <exception cref="ApiException">Too many wait already.</exception>
    internal void Register()
    {
        if (Interlocked.Increment(ref _large) <= queue + 1)
            return;
        Interlocked.Decrement(ref _large);
        throw new ApiException(
            429,
            $"{MessageText.Count(queue, "large request already waits", "large requests already wait")}; try again later.",
            code: "queue_full"
        );
    }

    /// <summary>Ends what <see cref="Register"/> began.</summary>
    internal void Unregister() => Interlocked.Decrement(ref _large);

    /// <summary>Waits until there is room, and reads.</summary>
    /// <param name="length">Bytes of the body.</param>
    /// <param name="read">Reads it.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    internal async Task<T> Read<T>(long length, Func<T> read, CancellationToken cancellation)
    {
        if (length <= Small)
            return read();
        length = Math.Min(length, bytes);
        await Take(length, cancellation);
        try
        {
            return await Task.Run(read, CancellationToken.None);
        }
        finally
        {
            Release(length);
        }
    }

    private Task Take(long length, CancellationToken cancellation)
    {
        lock (_lock)
        {
            if (_waiting.Count == 0 && _taken + length <= bytes)
            {
                _taken += length;
                return Task.CompletedTask;
            }
            var turn = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _waiting.Enqueue((length, turn));
            return WaitFor(turn, cancellation);
        }
    }

    private static async Task WaitFor(TaskCompletionSource turn, CancellationToken cancellation)
    {
        await using var leaving = cancellation.Register(() => turn.TrySetCanceled(cancellation));
        await turn.Task;
    }

    private void Release(long length)
    {
        bool givesBack;
        lock (_lock)
        {
            _taken -= length;
            _sinceGivenBack += length;
            while (_waiting.TryPeek(out var next) && (next.Turn.Task.IsCanceled || _taken + next.Bytes <= bytes))
            {
                _waiting.Dequeue();
                // One that has left in this moment takes nothing.
                if (next.Turn.TrySetResult())
                    _taken += next.Bytes;
            }
            // Also between two large ones, since each leaves ten times its size behind.
            givesBack = _sinceGivenBack >= GivenBackAfter;
            if (givesBack)
                _sinceGivenBack = 0;
        }
        if (givesBack)
            MemoryMeter.ReturnFreeMemory();
    }
}
