using LongLora.Runtime;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace LongLora.Server;

/// <summary>Turns everything that goes wrong into an error in OpenAI's form.</summary>
internal static partial class ErrorResponses
{
    private const int ClientClosedRequest = 499;

    // No browser takes what a client sent, and an error or an answer repeats, for a page or a script.
    private const string NoSniff = "nosniff";

    /// <summary>The middleware before all others.</summary>
    internal static Func<HttpContext, RequestDelegate, Task> Create(ILogger logger) =>
        async (context, next) =>
        {
            context.Response.Headers.XContentTypeOptions = NoSniff;
            try
            {
                await next(context);
                if (context.Response is { StatusCode: 404 or 405, HasStarted: false, ContentLength: null })
                {
                    await Write(
                        context,
                        context.Response.StatusCode == 404
                            ? new(404, $"There is nothing at {context.Request.Path}.")
                            : new(405, $"{context.Request.Path} does not accept {context.Request.Method}.")
                    );
                }
            }
            catch (Exception e) when (context.RequestAborted.IsCancellationRequested && e is OperationCanceledException or IOException)
            {
                if (!context.Response.HasStarted)
                    context.Response.StatusCode = ClientClosedRequest;
            }
            catch (Exception e)
            {
                var error = ToApi(e);
                if (error.Status == 500)
                    LogFault(logger, e, context.Request.Method, context.Request.Path);
                if (context.Response.HasStarted)
                    context.Abort();
                else
                    await Write(context, error);
            }
        };

    /// <summary>The error that a client sees.</summary>
    internal static ApiException ToApi(Exception e) =>
        e switch
        {
            ApiException api => api,
            BadHttpRequestException { StatusCode: 413 } => new ApiException(
                413,
                "The body is larger than this server accepts.",
                code: "body_too_large"
            ),
            BadHttpRequestException bad => new ApiException(bad.StatusCode, bad.Message),
            OperationCanceledException or ObjectDisposedException => new ApiException(503, "The server is stopping.", code: "stopping"),
            LongLoraException known => new ApiException(400, known.Message),
            _ => new ApiException(500, "The server has a fault; its log says more."),
        };

    private static Task Write(HttpContext context, ApiException error)
    {
        // Without these a page of another origin could not read what is wrong.
        var crossOrigin = context.Response.Headers.Where(h => CrossOrigin.IsHeader(h.Key)).ToList();
        var allow = context.Response.Headers.Allow;
        context.Response.Clear();
        foreach (var (name, value) in crossOrigin)
            context.Response.Headers[name] = value;
        context.Response.Headers.Allow = allow;
        context.Response.Headers.XContentTypeOptions = NoSniff;
        context.Response.StatusCode = error.Status;
        if (error.Status is 429 or 503)
            context.Response.Headers.RetryAfter = "5";
        if (error.Status == 401)
            context.Response.Headers.WWWAuthenticate = "Bearer";
        return context.Response.WriteAsJsonAsync(error.Body, EndpointFormat.Json);
    }

    /// <summary>Tells a fault of the server to its log.</summary>
    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path}")]
    internal static partial void LogFault(ILogger logger, Exception e, string method, string path);
}
