using LongLora.Generation;

namespace LongLora.Extensions.AI;

/// <summary>A model as one client or generator has it, which ends what it asked for when it is disposed.</summary>
/// <param name="model">The model.</param>
/// <param name="ownsModel">Whether the model is disposed with the holder.</param>
/// <param name="holder">Who has it, for messages.</param>
internal sealed class ModelLease(ChatModel model, bool ownsModel, Type holder) : IDisposable
{
    private readonly CancellationTokenSource _closing = new();
    private int _disposed;

    internal ChatModel Model { get; } = model;

    internal void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposed != 0, holder);

    /// <summary>A source that ends with the caller's token and with the holder.</summary>
    internal CancellationTokenSource Link(CancellationToken cancellation) =>
        CancellationTokenSource.CreateLinkedTokenSource(cancellation, _closing.Token);

    /// <summary>Waits for work on a linked token. Whoever cancelled sees a token of their own; whoever disposed did not cancel.</summary>
    internal async ValueTask<T> WaitAsync<T>(ValueTask<T> work, CancellationToken cancellation)
    {
        try
        {
            return await work.ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (cancellation.IsCancellationRequested)
        {
            throw new OperationCanceledException(e.Message, e, cancellation);
        }
        catch (OperationCanceledException e) when (_closing.IsCancellationRequested)
        {
            throw new ObjectDisposedException(holder.FullName, e);
        }
    }

    /// <summary>The first of the holder, its metadata and the model that is of a type; null if none is, and with a key.</summary>
    internal object? Find(Type type, object? key, params ReadOnlySpan<object> own)
    {
        ArgumentNullException.ThrowIfNull(type);
        if (key is not null)
            return null;
        foreach (var service in (ReadOnlySpan<object>)[.. own, Model])
        {
            if (type.IsInstanceOfType(service))
                return service;
        }
        return null;
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        _closing.Cancel();
        if (ownsModel)
            Model.Dispose();
    }
}
