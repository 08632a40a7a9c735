namespace LongLora.Cli;

/// <summary>What Ctrl-C means: the end of the command, or of what the command is busy with.</summary>
public sealed class Interruption : IDisposable
{
    private readonly CancellationTokenSource _end = new();
    private Action? _busy;

    /// <summary>Set when the command is to end.</summary>
    public CancellationToken Token => _end.Token;

    /// <summary>Ctrl-C was pressed.</summary>
    /// <returns>Whether that was heard; false where the command was to end already.</returns>
    public bool Signal()
    {
        if (Interlocked.Exchange(ref _busy, null) is { } stop)
        {
            stop();
            return true;
        }
        if (_end.IsCancellationRequested)
            return false;
        _end.Cancel();
        return true;
    }

    /// <summary>Runs something that the next Ctrl-C stops, instead of the whole command.</summary>
    /// <param name="work">Given what tells it to stop.</param>
    /// <returns>What the work gave.</returns>
    public T Stoppable<T>(Func<CancellationToken, T> work)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        _busy = stop.Cancel;
        try
        {
            return work(stop.Token);
        }
        finally
        {
            _busy = null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _end.Dispose();
}
