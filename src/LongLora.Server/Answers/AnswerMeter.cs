using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Server;

/// <summary>Counts requests and answers, and refuses requests if too many wait. The queue belongs to the models.</summary>
internal sealed class AnswerMeter : IDisposable
{
    internal const string MeterName = "LongLora.Server";

    private static readonly double[] s_seconds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300, 600];

    private readonly Meter _meter = new(MeterName);
    private readonly Counter<long> _prompt,
        _cached,
        _generated,
        _guessed,
        _accepted,
        _canceled,
        _refused;
    private readonly Histogram<double> _duration,
        _firstText;
    private readonly int _waiting;
    private readonly Func<int> _parallel;
    private int _here;

    /// <param name="waiting">Requests that may wait while others are answered.</param>
    /// <param name="parallel">How many are answered together.</param>
    internal AnswerMeter(int waiting, Func<int> parallel)
    {
        (_waiting, _parallel) = (waiting, parallel);
        _prompt = _meter.CreateCounter<long>(
            "longlora.tokens.prompt",
            "{token}",
            "Tokens of prompts, of answers that ended by themselves."
        );
        _cached = _meter.CreateCounter<long>("longlora.tokens.cached", "{token}", "Tokens of prompts that a cache already held.");
        _generated = _meter.CreateCounter<long>("longlora.tokens.generated", "{token}", "Tokens of answers that ended by themselves.");
        _guessed = _meter.CreateCounter<long>("longlora.tokens.guessed", "{token}", "Tokens of answers that were guessed and checked.");
        _accepted = _meter.CreateCounter<long>("longlora.tokens.accepted", "{token}", "Guessed tokens that are in the answer.");
        _canceled = _meter.CreateCounter<long>(
            "longlora.answers.cancelled",
            "{answer}",
            "Answers that ended early because the client disconnected or the server stopped."
        );
        _refused = _meter.CreateCounter<long>("longlora.requests.refused", "{request}", "Requests refused because the queue was full.");
        _duration = _meter.CreateHistogram<double>(
            "longlora.answer.duration",
            "s",
            "Time of an answer, without waiting.",
            advice: new() { HistogramBucketBoundaries = s_seconds }
        );
        _firstText = _meter.CreateHistogram<double>(
            "longlora.answer.first_token",
            "s",
            "Time from the arrival of a request to the first text of its answer, including waiting.",
            advice: new() { HistogramBucketBoundaries = s_seconds }
        );
        _meter.CreateObservableGauge(
            "longlora.requests.waiting",
            () => Math.Max(0, Volatile.Read(ref _here) - parallel()),
            "{request}",
            "Requests that wait for their turn."
        );
        _meter.CreateObservableGauge(
            "longlora.requests.running",
            () => Math.Min(parallel(), Volatile.Read(ref _here)),
            "{request}",
            "Requests that are being answered."
        );
    }

    /// <summary>Gives a request a place, which it leaves by disposing of it.</summary>
    /// <exception cref="ApiException">Too many wait already.</exception>
    internal Place Enter()
    {
        if (Interlocked.Increment(ref _here) <= _waiting + _parallel())
            return new Place(this);
        Interlocked.Decrement(ref _here);
        _refused.Add(1);
        throw new ApiException(
            429,
            $"{MessageText.Count(_waiting, "request already waits", "requests already wait")}; try again later.",
            code: "queue_full"
        );
    }

    public void Dispose() => _meter.Dispose();

    /// <summary>The place of one request.</summary>
    internal sealed class Place(AnswerMeter meter) : IDisposable
    {
        private readonly Stopwatch _arrived = Stopwatch.StartNew();
        private bool _hasText;

        /// <summary>Passes on the pieces of an answer, and counts it.</summary>
        /// <param name="answer">The pieces.</param>
        /// <param name="cancellation">Set when the client has disconnected or the server stops.</param>
        internal async IAsyncEnumerable<AnswerPiece> Count(
            IAsyncEnumerable<AnswerPiece> answer,
            [EnumeratorCancellation] CancellationToken cancellation
        )
        {
            var isWhole = false;
            try
            {
                await foreach (var piece in answer.WithCancellation(cancellation))
                {
                    if (!_hasText)
                        meter._firstText.Record(_arrived.Elapsed.TotalSeconds);
                    _hasText = true;
                    if (piece.Result is { } result)
                    {
                        isWhole = true;
                        meter._prompt.Add(result.PromptTokens);
                        meter._cached.Add(result.CachedTokens);
                        meter._generated.Add(result.Tokens.Count);
                        meter._guessed.Add(result.GuessedTokens);
                        meter._accepted.Add(result.AcceptedTokens);
                        meter._duration.Record(piece.Time.TotalSeconds);
                    }
                    yield return piece;
                }
            }
            finally
            {
                if (!isWhole && cancellation.IsCancellationRequested)
                    meter._canceled.Add(1);
            }
        }

        /// <summary>Counts a text that was only read.</summary>
        internal void CountRead(int tokens) => meter._prompt.Add(tokens);

        public void Dispose() => Interlocked.Decrement(ref meter._here);
    }
}
