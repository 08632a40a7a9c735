using System.Diagnostics.Metrics;
using LongLora.Generation;

namespace LongLora.Server;

/// <summary>One answer at a time, the others in the order in which they came; what no client waits for any more is given up.</summary>
internal sealed class GenerationQueue : IDisposable
{
    internal const string MeterName = "LongLora.Server";

    private readonly Meter _meter = new(MeterName);
    private readonly Counter<long> _prompt,
        _cached,
        _generated,
        _cancelled,
        _refused;
    private readonly Histogram<double> _duration;
    private readonly ChatModel _model;
    private readonly int _most;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private int _here;

    internal GenerationQueue(ChatModel model, int waiting)
    {
        (_model, _most) = (model, waiting + 1);
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

    /// <summary>Waits for its turn and generates.</summary>
    /// <exception cref="ApiException">Too many wait already.</exception>
    internal async Task<GenerationResult> Run(GenerationRequest request, Action<string>? onText, CancellationToken cancellation)
    {
        if (Interlocked.Increment(ref _here) > _most)
        {
            Interlocked.Decrement(ref _here);
            _refused.Add(1);
            throw new ApiException(429, $"{_most - 1:N0} requests wait already; try again later.", code: "queue_full");
        }
        try
        {
            await _turn.WaitAsync(cancellation);
            try
            {
                var clock = System.Diagnostics.Stopwatch.StartNew();
                // A generation computes for seconds; it must not hold a thread that requests are read on.
                var result = await Task.Factory.StartNew(
                    () =>
                        request.IsChat
                            ? _model.AnswerTokens(request.Prompt, request.Options, onText, cancellation)
                            : _model.CompleteTokens(request.Prompt, request.Options, onText, cancellation),
                    CancellationToken.None,
                    TaskCreationOptions.LongRunning,
                    TaskScheduler.Default
                );
                _prompt.Add(result.PromptTokens);
                _cached.Add(result.CachedTokens);
                _generated.Add(result.Tokens.Count);
                _duration.Record(clock.Elapsed.TotalSeconds);
                return result;
            }
            finally
            {
                _turn.Release();
            }
        }
        catch (OperationCanceledException)
        {
            _cancelled.Add(1);
            throw;
        }
        finally
        {
            Interlocked.Decrement(ref _here);
        }
    }

    public void Dispose()
    {
        _meter.Dispose();
        _turn.Dispose();
    }
}
