namespace LongLora.Distributed;

/// <summary>
/// An operation that was begun. The memory of its tensors belongs to it until <see cref="Wait"/> returns: not to be read, written or freed.
/// </summary>
/// <param name="wait">Waits for the end, and throws what went wrong.</param>
internal sealed class Pending(Action wait)
{
    private Action? _wait = wait;

    /// <summary>An operation without anything to do.</summary>
    internal static Pending Done { get; } = new(() => { });

    /// <summary>Several operations as one.</summary>
    internal static Pending All(IReadOnlyList<Pending> parts) =>
        new(() =>
        {
            foreach (var part in parts)
                part.Wait();
        });

    /// <summary>Returns when the operation has ended on this rank. Later calls do nothing.</summary>
    /// <exception cref="CommunicationException">It failed, or its deadline passed.</exception>
    internal void Wait()
    {
        _wait?.Invoke();
        _wait = null;
    }
}
