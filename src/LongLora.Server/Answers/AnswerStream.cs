using System.Text.Json;
using System.Threading.Channels;
using LongLora.Generation;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace LongLora.Server;

/// <summary>
/// The way from a request to its answer, whole or streamed. A stream begins at once: headers and a first event are sent before the prompt
/// is read, and comments say how much has been read, so that no proxy takes a long silence for the end.
/// </summary>
internal sealed class AnswerStream
{
    // Proxies end a connection after a silence, the strictest of the usual ones after 30 s.
    private static readonly TimeSpan s_silence = TimeSpan.FromSeconds(10);

    private readonly HttpContext _context;
    private readonly GenerationRequest _request;
    private readonly AnswerMeter.Place _place;

    private AnswerStream(HttpContext context, GenerationRequest request, AnswerMeter.Place place) =>
        (_context, _request, _place) = (context, request, place);

    /// <summary>Answers a request.</summary>
    internal static async Task Send(HttpContext context, GenerationRequest request, EndpointFormat format)
    {
        using var place = context.RequestServices.GetRequiredService<AnswerMeter>().Enter();
        var stream = new AnswerStream(context, request, place);
        if (request.IsStream)
            await stream.SendPieces(format);
        else
            await stream.SendWhole(format);
    }

    private async Task SendWhole(EndpointFormat format)
    {
        var results = new List<GenerationResult>();
        for (var index = 0; index < _request.Count; index++)
            results.Add(await Answer(index, null).WholeAsync(_context.RequestAborted));
        await Results.Json(format.ToWhole(results), EndpointFormat.Json).ExecuteAsync(_context);
    }

    private async Task SendPieces(EndpointFormat format)
    {
        _context.Response.ContentType = "text/event-stream";
        _context.Response.Headers.CacheControl = "no-cache";
        _context.Response.Headers["X-Accel-Buffering"] = "no"; // nginx would collect the events
        _context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        await Comment("accepted");
        try
        {
            await SendEvents(format.Begin());
            var results = new List<GenerationResult>();
            for (var index = 0; index < _request.Count; index++)
                results.Add(await SendAnswer(format, index));
            await SendEvents(format.End(results));
        }
        catch (Exception e) when (StopDeadline.HasClient(_context))
        {
            StopDeadline.Lift(_context);
            // The status has been sent, so the error is an event.
            var error = ErrorResponses.ToApi(e);
            if (error.Status == 500)
            {
                var logger = _context.RequestServices.GetRequiredService<ILogger<AnswerStream>>();
                ErrorResponses.LogFault(logger, e, _context.Request.Method, _context.Request.Path);
            }
            await SendEvents([format.ToError(error)]);
        }
    }

    private async Task<GenerationResult> SendAnswer(EndpointFormat format, int index)
    {
        var reading = Channel.CreateUnbounded<PromptProgress>();
        await using var pieces = Answer(index, new Reading(reading.Writer)).GetAsyncEnumerator(_context.RequestAborted);
        for (; ; )
        {
            var next = pieces.MoveNextAsync().AsTask();
            try
            {
                await SendProgress(reading.Reader, next);
            }
            catch
            {
                // A stream of pieces must not be left while it is moving.
                await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                throw;
            }
            if (!await next)
                throw new InvalidOperationException("An answer ended without a result.");
            await SendEvents(format.Continue(index, pieces.Current));
            if (pieces.Current.Result is { } result)
                return result;
        }
    }

    // Comments until the next piece is there.
    private async Task SendProgress(ChannelReader<PromptProgress> reading, Task next)
    {
        do
        {
            if (!next.IsCompleted)
            {
                using var silence = new CancellationTokenSource(s_silence);
                try
                {
                    await Task.WhenAny(next, reading.WaitToReadAsync(silence.Token).AsTask());
                }
                finally
                {
                    await silence.CancelAsync();
                }
            }
            if (next.IsFaulted || next.IsCanceled)
                return;
            var isSilent = true;
            while (reading.TryRead(out var progress))
            {
                isSilent = false;
                await Comment($"reading: {progress.Read} of {progress.Tokens} tokens");
            }
            if (isSilent && !next.IsCompleted)
                await Comment("waiting");
        } while (!next.IsCompleted);
    }

    private IAsyncEnumerable<AnswerPiece> Answer(int index, IProgress<PromptProgress>? progress) =>
        _place.Count(_request.AnswerAsync(index, progress), _context.RequestAborted);

    private async Task SendEvents(IEnumerable<StreamEvent> events)
    {
        foreach (var (name, data) in events)
        {
            var text = data as string ?? JsonSerializer.Serialize(data, EndpointFormat.Json);
            await _context.Response.WriteAsync($"{(name is null ? "" : $"event: {name}\n")}data: {text}\n\n", _context.RequestAborted);
        }
        await _context.Response.Body.FlushAsync(_context.RequestAborted);
    }

    private async Task Comment(string text)
    {
        await _context.Response.WriteAsync($": {text}\n\n", _context.RequestAborted);
        await _context.Response.Body.FlushAsync(_context.RequestAborted);
    }

    // Told on the thread that generates, which must not wait.
    private sealed class Reading(ChannelWriter<PromptProgress> writer) : IProgress<PromptProgress>
    {
        public void Report(PromptProgress value) => writer.TryWrite(value);
    }
}
