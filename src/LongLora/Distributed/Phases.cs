using LongLora.Runtime;

namespace LongLora.Distributed;

/// <summary>What a rank is doing, one inside the other, and how far it has come. Read by the thread that watches.</summary>
internal sealed class Phases(TimeSpan limit)
{
    private const int Patience = 4;

    private readonly Lock _lock = new();
    private readonly List<(string What, TimeSpan Limit)> _open = [];

    /// <summary>Longest time without a tick outside of any phase; four times the longest so far if that is more.</summary>
    internal TimeSpan Limit { get; set; } = limit;

    /// <summary>The innermost phase, and the longest limit of all open ones.</summary>
    internal (string What, TimeSpan Limit) Current
    {
        get
        {
            lock (_lock)
            {
                if (_open.Count > 0)
                    return (_open[^1].What, _open.Max(p => p.Limit));
            }
            var learned = Patience * Liveness.Longest;
            return ("computing", learned > Limit ? learned : Limit);
        }
    }

    /// <summary>Opens a phase; disposing the result closes it.</summary>
    internal IDisposable Open(string what, TimeSpan longest)
    {
        lock (_lock)
            _open.Add((what, longest > Limit ? longest : Limit));
        Liveness.Tick();
        return new Opened(this);
    }

    private void Close()
    {
        lock (_lock)
            _open.RemoveAt(_open.Count - 1);
        Liveness.Tick();
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
