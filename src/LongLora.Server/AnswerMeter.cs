using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using LongLora.Generation;

namespace LongLora.Server;

/// <summary>Counts requests and answers, and refuses requests if too many wait. The queue belongs to the model.</summary>
internal sealed class AnswerMeter : IDisposable
{
    internal const string MeterName = "LongLora.Server";

    private readonly Meter _meter = new(MeterName);
    private readonly Counter<long> _prompt,
        _cached,
        _generated,
        _cancelled,
        _refused;
    private readonly Histogram<double> _duration;
    private readonly int _most;
    private int _here;

    /// <param name="waiting">Requests that may wait while one is answered.</param>
    internal AnswerMeter(int waiting)
    {
        _most = waiting + 1;
        _prompt = _meter.CreateCounter<long>("longlora.tokens.prompt", "{token}", "Tokens of prompts.");
        _cached = _meter.CreateCounter<long>("longlora.tokens.cached", "{token}", "Tokens of prompts that were known from before.");
        _generated = _meter.CreateCounter<long>("longlora.tokens.generated", "{token}", "Tokens of answers.");
        _cancelled = _meter.CreateCounter<long>(
            "longlora.answers.cancelled",
            "{answer}",
            "Answers given up because the client went away or the server stopped."
        );
        _refused = _meter.CreateCounter<long>("longlora.requests.refused", "{request}", "Requests sent away because the queue was full.");
        _duration = _meter.CreateHistogram<double>(
            "longlora.answer.duration",
            "s",
            "Time of an answer, without waiting.",
            advice: new() { HistogramBucketBoundaries = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600] }
        );
        _meter.CreateObservableGauge(
            "longlora.requests.waiting",
            () => Math.Max(0, Volatile.Read(ref _here) - 1),
            "{request}",
            "Requests that wait for their turn."
        );
    }

    /// <summary>Passes on the pieces of an answer, and counts it.</summary>
    /// <param name="answer">The pieces.</param>
    /// <param name="cancellation">Set when the client has left or the server stops.</param>
    /// <exception cref="ApiException">Too many wait already.</exception>
    internal async IAsyncEnumerable<AnswerPiece> Count(
        IAsyncEnumerable<AnswerPiece> answer,
        [EnumeratorCancellation] CancellationToken cancellation
    )
    {
        if (Interlocked.Increment(ref _here) > _most)
        {
            Interlocked.Decrement(ref _here);
            _refused.Add(1);
            throw new ApiException(429, $"{_most - 1:N0} requests wait already; try again later.", code: "queue_full");
        }
        var isWhole = false;
        try
        {
            await foreach (var piece in answer.WithCancellation(cancellation))
            {
                if (piece.Result is { } result)
                {
                    isWhole = true;
                    _prompt.Add(result.PromptTokens);
                    _cached.Add(result.CachedTokens);
                    _generated.Add(result.Tokens.Count);
                    _duration.Record(piece.Time.TotalSeconds);
                }
                yield return piece;
            }
        }
        finally
        {
            Interlocked.Decrement(ref _here);
            if (!isWhole && cancellation.IsCancellationRequested)
                _cancelled.Add(1);
        }
    }

    public void Dispose() => _meter.Dispose();
}
