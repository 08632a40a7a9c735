using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace LongLora.Generation;

/// <summary>
/// Generates one answer at a time, in the order of the requests. Each has a thread of its own, because a generation computes for seconds;
/// no other thread waits for it. An answer that is no longer read ends at its next token.
/// </summary>
internal sealed class AnswerQueue : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly CancellationTokenSource _closing = new();

    /// <summary>Waits for its turn and generates.</summary>
    /// <param name="generate">Calls its first argument with each piece of text, and checks its second before every token.</param>
    /// <param name="cancellation">Ends waiting and generation.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The queue was disposed before the answer was complete.</exception>
    internal async IAsyncEnumerable<AnswerPiece> RunAsync(
        Func<Action<string>, CancellationToken, GenerationResult> generate,
        [EnumeratorCancellation] CancellationToken cancellation = default
    )
    {
        ObjectDisposedException.ThrowIf(_closing.IsCancellationRequested, typeof(ChatModel));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _closing.Token);
        await WaitFor(_turn.WaitAsync(stop.Token), cancellation).ConfigureAwait(false);
        var pieces = Channel.CreateUnbounded<AnswerPiece>(new() { SingleReader = true, SingleWriter = true });
        var clock = Stopwatch.StartNew();
        var making = Task.Factory.StartNew(Make, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            await foreach (var piece in pieces.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
                yield return piece;
            await WaitFor(making, cancellation).ConfigureAwait(false);
            yield return new AnswerPiece("", clock.Elapsed, await making.ConfigureAwait(false));
        }
        finally
        {
            // A reader that leaves finds the model free: the generation ends with its current token.
            await stop.CancelAsync().ConfigureAwait(false);
            await ((Task)making).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        GenerationResult Make()
        {
            try
            {
                return generate(text => pieces.Writer.TryWrite(new AnswerPiece(text, clock.Elapsed, null)), stop.Token);
            }
            finally
            {
                _turn.Release();
                pieces.Writer.Complete();
            }
        }
    }

    // The caller sees the caller's own token. If the model was disposed, nobody cancelled.
    private async Task WaitFor(Task task, CancellationToken cancellation)
    {
        try
        {
            await task.ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (cancellation.IsCancellationRequested)
        {
            throw new OperationCanceledException(e.Message, e, cancellation);
        }
        catch (OperationCanceledException e) when (_closing.IsCancellationRequested)
        {
            throw new ObjectDisposedException(nameof(ChatModel), e);
        }
    }

    /// <summary>Ends running and waiting answers. Returns when the model is no longer used.</summary>
    public void Dispose()
    {
        if (_closing.IsCancellationRequested)
            return;
        _closing.Cancel();
        _turn.Wait(); // never released: nothing is generated any more
    }
}
