using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading.Channels;

namespace LongLora.Generation;

/// <summary>
/// Generates answers in the order of the requests, as many at a time as there are places. Each has its own thread, because a generation
/// computes for seconds and no other thread should wait for it. An answer that nobody reads any more ends at its next token.
/// </summary>
/// <param name="turns">Who may compute; several models share one.</param>
internal sealed class AnswerQueue(ComputeTurns turns) : IDisposable
{
    private readonly CancellationTokenSource _closing = new();

    /// <summary>Who may compute.</summary>
    internal ComputeTurns Turns => turns;

    /// <summary>Waits for its turn and generates.</summary>
    /// <param name="generate">Calls its first argument with each piece, and checks its second before every token.</param>
    /// <param name="cancellation">Ends waiting and generation.</param>
    /// <exception cref="OperationCanceledException">It was canceled.</exception>
    /// <exception cref="ObjectDisposedException">The queue was disposed before the answer was complete.</exception>
    internal async IAsyncEnumerable<AnswerPiece> RunAsync(
        Func<Action<AnswerPiece>, CancellationToken, GenerationResult> generate,
        [EnumeratorCancellation] CancellationToken cancellation = default
    )
    {
        using var stop = Link(cancellation);
        var pieces = Channel.CreateUnbounded<AnswerPiece>(new() { SingleReader = true, SingleWriter = true });
        await TakeTurn(stop.Token, cancellation).ConfigureAwait(false);
        var clock = Stopwatch.StartNew();
        var making = Start(
            () => generate(piece => pieces.Writer.TryWrite(piece with { Time = clock.Elapsed }), stop.Token),
            () => pieces.Writer.Complete()
        );
        try
        {
            var told = 0;
            await foreach (var piece in pieces.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
            {
                told += piece.LogProbabilities?.Count ?? 0;
                yield return piece;
            }
            await WaitFor(making, cancellation).ConfigureAwait(false);
            var result = await making.ConfigureAwait(false);
            yield return new AnswerPiece("", clock.Elapsed, result) { LogProbabilities = result.LogProbabilities?.Skip(told).ToList() };
        }
        finally
        {
            // A reader that leaves finds the model free: the generation ends with its current token.
            await stop.CancelAsync().ConfigureAwait(false);
            await ((Task)making).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Waits for its turn and computes.</summary>
    /// <param name="compute">Checks its argument now and then.</param>
    /// <param name="cancellation">Ends waiting and computing.</param>
    /// <exception cref="OperationCanceledException">It was canceled.</exception>
    /// <exception cref="ObjectDisposedException">The queue was disposed before it was done.</exception>
    internal async Task<T> ComputeAsync<T>(Func<CancellationToken, T> compute, CancellationToken cancellation = default)
    {
        using var stop = Link(cancellation);
        await TakeTurn(stop.Token, cancellation).ConfigureAwait(false);
        var computing = Start(() => compute(stop.Token), () => { });
        await WaitFor(computing, cancellation).ConfigureAwait(false);
        return await computing.ConfigureAwait(false);
    }

    private CancellationTokenSource Link(CancellationToken cancellation)
    {
        ObjectDisposedException.ThrowIf(_closing.IsCancellationRequested, typeof(ChatModel));
        return CancellationTokenSource.CreateLinkedTokenSource(cancellation, _closing.Token);
    }

    private async Task TakeTurn(CancellationToken stop, CancellationToken cancellation)
    {
        await WaitFor(turns.EnterAsync(stop), cancellation).ConfigureAwait(false);
        if (!_closing.IsCancellationRequested)
            return;
        turns.Leave(); // the turn came with the end
        throw new ObjectDisposedException(nameof(ChatModel));
    }

    private Task<T> Start<T>(Func<T> work, Action done) =>
        Task.Factory.StartNew(
            () =>
            {
                try
                {
                    return work();
                }
                finally
                {
                    turns.Leave();
                    done();
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default
        );

    // The caller sees the caller's own token. If the model was disposed, nobody canceled.
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
        turns.WaitUntilEmpty();
    }
}
