namespace LongLora.Distributed;

/// <summary>What a rank is doing, one inside the other, and how far it has come. Read by the thread that watches.</summary>
/// <param name="limit">Longest time without a tick outside of any phase.</param>
internal sealed class Phases(TimeSpan limit)
{
    private readonly Lock _lock = new();
    private readonly List<(string What, TimeSpan Limit)> _open = [];
    private long _ticks;

    /// <summary>Ticks so far; a phase's beginning and end are ticks too.</summary>
    internal long Ticks => Interlocked.Read(ref _ticks);

    /// <summary>The innermost phase, and the longest limit of all open ones.</summary>
    internal (string What, TimeSpan Limit) Current
    {
        get
        {
            lock (_lock)
                return _open.Count == 0 ? ("computing", limit) : (_open[^1].What, _open.Max(p => p.Limit));
        }
    }

    /// <summary>The rank has moved on.</summary>
    internal void Tick() => Interlocked.Increment(ref _ticks);

    /// <summary>Opens a phase; disposing the result closes it.</summary>
    internal IDisposable Open(string what, TimeSpan longest)
    {
        lock (_lock)
            _open.Add((what, longest));
        Tick();
        return new Opened(this);
    }

    private void Close()
    {
        lock (_lock)
            _open.RemoveAt(_open.Count - 1);
        Tick();
    }

    private sealed class Opened(Phases phases) : IDisposable
    {
        private bool _isClosed;

        public void Dispose()
        {
            if (!_isClosed)
                phases.Close();
            _isClosed = true;
        }
    }
}
