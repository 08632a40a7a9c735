namespace LongLora.Cli;

/// <summary>Handles Ctrl-C: it ends the command, or only what the command is doing now.</summary>
public sealed class Interruption : IDisposable
{
    private readonly CancellationTokenSource _end = new();
    private Action? _busy;

    /// <summary>Canceled when the command should end.</summary>
    public CancellationToken Token => _end.Token;

    /// <summary>Ctrl-C was pressed.</summary>
    /// <returns>Whether it had an effect; false if the command was already ending.</returns>
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

    /// <summary>Runs something that the next Ctrl-C stops instead of the whole command.</summary>
    /// <param name="work">Receives the token that stops it.</param>
    /// <returns>The result of the work.</returns>
    public T RunStoppable<T>(Func<CancellationToken, T> work)
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
