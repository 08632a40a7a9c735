using System.Security.Cryptography;
using System.Text;
using LongLora.Runtime;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace LongLora.Server;

/// <summary>What stands before every endpoint: errors in one form, and who may come in.</summary>
internal static partial class Guard
{
    private const int ClientClosedRequest = 499;
    private const long MostDrained = 256 << 20;

    /// <summary>Turns whatever goes wrong into an error of the API.</summary>
    internal static Func<HttpContext, RequestDelegate, Task> Errors(ILogger logger) =>
        async (context, next) =>
        {
            try
            {
                await next(context);
                if (context.Response is { StatusCode: 404 or 405, HasStarted: false, ContentLength: null })
                {
                    await Write(
                        context,
                        context.Response.StatusCode == 404
                            ? new(404, $"There is nothing at {context.Request.Path}.")
                            : new(405, $"{context.Request.Path} does not take {context.Request.Method}.")
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
                var error = AsApi(e);
                if (error.Status >= 500)
                    LogFault(logger, e, context.Request.Method, context.Request.Path);
                if (context.Response.HasStarted)
                    context.Abort();
                else
                    await Write(context, error);
            }
        };

    internal static ApiException AsApi(Exception e) =>
        e switch
        {
            ApiException api => api,
            BadHttpRequestException { StatusCode: 413 } => new ApiException(
                413,
                "The body is larger than this server takes.",
                code: "body_too_large"
            ),
            BadHttpRequestException bad => new ApiException(bad.StatusCode, bad.Message),
            OperationCanceledException => new ApiException(503, "The server is stopping.", code: "stopping"),
            LongLoraException known => new ApiException(400, known.Message),
            _ => new ApiException(500, "A fault of the server; its log says more."),
        };

    /// <summary>Asks for the key, and lets no web page of another origin use a server that has none.</summary>
    internal static Func<HttpContext, RequestDelegate, Task> Access(ServerOptions options) =>
        async (context, next) =>
        {
            var request = context.Request;
            if (options.IsLocal && !(request.Host.Host is "localhost" or "127.0.0.1" or "[::1]"))
                // a name that was made to point here
                throw new ApiException(403, $"This server answers this machine alone, not '{request.Host}'.", code: "wrong_host");
            if (request.Headers.Origin is [{ } origin] && origin != $"{request.Scheme}://{request.Host}")
            {
                if (!options.AllowedOrigins.Contains(origin))
                    throw new ApiException(
                        403,
                        $"Pages of {origin} may not use this server; allow it with --allow-origin.",
                        code: "wrong_origin"
                    );
                context.Response.Headers.AccessControlAllowOrigin = origin;
                context.Response.Headers.Vary = "Origin";
                if (request.Method == HttpMethods.Options)
                {
                    context.Response.Headers.AccessControlAllowHeaders = "authorization, content-type";
                    context.Response.Headers.AccessControlAllowMethods = "GET, POST";
                    context.Response.StatusCode = 204;
                    return;
                }
            }
            var isOpen = request.Path == "/health" || Page.Has(request.Path);
            if (options.ApiKey is { } key && !isOpen && !IsKey(request.Headers.Authorization.ToString(), key))
                throw new ApiException(
                    401,
                    "The API key is missing or wrong; send it as Authorization: Bearer KEY.",
                    code: "invalid_api_key"
                );
            if (request.ContentLength > options.MaxBodyBytes)
            {
                await Drain(context);
                throw new ApiException(
                    413,
                    $"The body has {request.ContentLength:N0} bytes; this server takes {options.MaxBodyBytes:N0}.",
                    code: "body_too_large"
                );
            }
            await next(context);
        };

    // A client that is still sending would see a broken connection, and not why.
    private static async Task Drain(HttpContext context)
    {
        if (
            context.Request.ContentLength > MostDrained
            || context.Features.Get<IHttpMaxRequestBodySizeFeature>() is not { IsReadOnly: false } size
        )
            return;
        size.MaxRequestBodySize = null;
        await context.Request.Body.CopyToAsync(Stream.Null, context.RequestAborted);
    }

    // In constant time, whatever was sent.
    private static bool IsKey(string header, string key) =>
        CryptographicOperations.FixedTimeEquals(
            SHA256.HashData(Encoding.UTF8.GetBytes(header)),
            SHA256.HashData(Encoding.UTF8.GetBytes("Bearer " + key))
        );

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path}")]
    private static partial void LogFault(ILogger logger, Exception e, string method, string path);

    private static Task Write(HttpContext context, ApiException error)
    {
        context.Response.Clear();
        context.Response.StatusCode = error.Status;
        if (error.Status == 429)
            context.Response.Headers.RetryAfter = "5";
        if (error.Status == 401)
            context.Response.Headers.WWWAuthenticate = "Bearer";
        return context.Response.WriteAsJsonAsync(error.Body, Answers.Json);
    }
}
