using System.Diagnostics;

namespace LongLora.Runtime;

/// <summary>
/// Counts the pieces of work that this process has done, so that a watcher can tell slow from stuck. Long work calls <see cref="Tick"/>
/// after each piece: a tile, a head group, a chunk of the loss. It costs nanoseconds.
/// </summary>
internal static class Liveness
{
    private static long s_ticks,
        s_last,
        s_longest;
    private static int s_learning;

    /// <summary>Pieces so far.</summary>
    internal static long Ticks => Interlocked.Read(ref s_ticks);

    /// <summary>The longest time between two pieces of a training step.</summary>
    internal static TimeSpan Longest => Stopwatch.GetElapsedTime(0, Interlocked.Read(ref s_longest));

    /// <summary>A piece of work is done.</summary>
    internal static void Tick()
    {
        Interlocked.Increment(ref s_ticks);
        if (Volatile.Read(ref s_learning) == 0)
            return;
        var now = Stopwatch.GetTimestamp();
        var gap = now - Interlocked.Exchange(ref s_last, now);
        if (gap > Interlocked.Read(ref s_longest))
            Interlocked.Exchange(ref s_longest, gap);
    }

    /// <summary>What has passed since the last piece was waiting, not work.</summary>
    internal static void Skip() => Interlocked.Exchange(ref s_last, Stopwatch.GetTimestamp());

    /// <summary>Begins to measure how long pieces take; disposing the result ends it.</summary>
    internal static IDisposable Learn()
    {
        Skip();
        Interlocked.Increment(ref s_learning);
        return new Lesson();
    }

    private sealed class Lesson : IDisposable
    {
        public void Dispose() => Interlocked.Decrement(ref s_learning);
    }
}
