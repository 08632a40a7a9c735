using System.Diagnostics;

namespace LongLora.Hub;

/// <summary>Counts what comes, and tells it some times a second. Thread-safe.</summary>
internal sealed class PullMeter(IProgress<PullProgress>? progress)
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(100),
        s_memory = TimeSpan.FromSeconds(8);

    private readonly Lock _lock = new();
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly Queue<(TimeSpan Time, long Bytes)> _recent = new();
    private readonly List<string> _notes = [];
    private TimeSpan _told = -s_pause;
    private long _done,
        _all;
    private string? _waiting;

    /// <summary>Bytes that came over the network.</summary>
    public long FetchedBytes { get; private set; }

    /// <summary>What the user may want to know.</summary>
    public IReadOnlyList<string> Notes
    {
        get
        {
            lock (_lock)
                return [.. _notes];
        }
    }

    /// <summary>Says how much there is to come.</summary>
    public void SetAll(long bytes)
    {
        lock (_lock)
            _all = bytes;
    }

    /// <summary>Counts bytes that are there without having come now; less than 0 for some that were lost.</summary>
    public void AddDone(long bytes)
    {
        lock (_lock)
        {
            _done += bytes;
            Tell(isUrgent: true);
        }
    }

    /// <summary>Counts bytes that came.</summary>
    public void AddFetched(long bytes)
    {
        lock (_lock)
        {
            FetchedBytes += bytes;
            _done += bytes;
            Tell(isUrgent: false);
        }
    }

    /// <summary>Says what is waited for; null for nothing any more.</summary>
    public void SetWaiting(string? what)
    {
        lock (_lock)
        {
            _waiting = what;
            Tell(isUrgent: true);
        }
    }

    /// <summary>Adds a sentence to the result.</summary>
    public void AddNote(string note)
    {
        lock (_lock)
            _notes.Add(note);
    }

    private void Tell(bool isUrgent)
    {
        if (progress is null)
            return;
        var now = _clock.Elapsed;
        if (!isUrgent && now - _told < s_pause && _done < _all)
            return;
        _told = now;
        _recent.Enqueue((now, FetchedBytes));
        while (_recent.Peek().Time < now - s_memory)
            _recent.Dequeue();
        var (since, bytes) = _recent.Peek();
        var speed = now > since ? (FetchedBytes - bytes) / (now - since).TotalSeconds : 0;
        TimeSpan? left = speed > 0 ? TimeSpan.FromSeconds(Math.Min((_all - _done) / speed, 1e7)) : null;
        progress.Report(new PullProgress(_done, _all, speed, left, _waiting));
    }
}
