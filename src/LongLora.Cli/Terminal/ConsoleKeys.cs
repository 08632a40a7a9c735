namespace LongLora.Cli.Terminal;

/// <summary>The keys of the terminal.</summary>
internal sealed class ConsoleKeys : IKeys
{
    private Task<ConsoleKeyInfo>? _next;

    public bool HasMore => _next is { IsCompleted: true } || Console.KeyAvailable;

    // Reading cannot be interrupted, so it runs on another thread. The process ends without waiting for it.
    public ConsoleKeyInfo Read(CancellationToken cancellation)
    {
        _next ??= Task.Run(() => Console.ReadKey(intercept: true));
        _next.Wait(cancellation);
        var key = _next.Result;
        _next = null;
        return key;
    }
}
