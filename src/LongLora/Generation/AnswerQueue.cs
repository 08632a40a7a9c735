using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace LongLora.Generation;

/// <summary>
/// Makes one answer at a time, in the order in which they were asked for, each on a thread of its own: a generation computes for seconds,
/// and nobody's thread waits for it. An answer that nobody reads any more is given up at its next token.
/// </summary>
internal sealed class AnswerQueue : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly CancellationTokenSource _closing = new();

    /// <summary>Waits for its turn and generates.</summary>
    /// <param name="generate">Gives each piece of text to its first argument, and looks at its second before every token.</param>
    /// <param name="cancellation">Ends the waiting and the generation.</param>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    /// <exception cref="ObjectDisposedException">The queue was closed before the answer was whole.</exception>
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
            // Whoever leaves finds the model free: the generation ends with the token that it is at.
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

    // Whoever cancelled sees a token of their own; whoever closed the model did not cancel.
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

    /// <summary>Ends what is being made and what waits; returns when the model is free, for good.</summary>
    public void Dispose()
    {
        if (_closing.IsCancellationRequested)
            return;
        _closing.Cancel();
        _turn.Wait(); // kept: nothing is made any more
    }
}
