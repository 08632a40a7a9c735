using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace LongLora.Server;

/// <summary>Decides which requests come in, before every endpoint.</summary>
internal static class Guard
{
    private const long MostDrained = 256 << 20;

    /// <summary>
    /// Checks the name by which the server was called, as it was sent. What a proxy says of the name comes afterwards, because a page can
    /// send such headers too.
    /// </summary>
    internal static Func<HttpContext, RequestDelegate, Task> CheckHost(ServerOptions options) =>
        (context, next) =>
        {
            var host = context.Request.Host.Host;
            // No browser leaves the name out; HTTP/1.0 does.
            if (host.Length == 0 || IsOwnName(host, options) || options.AllowedHosts.Contains(host, StringComparer.OrdinalIgnoreCase))
                return next(context);
            // Another name was made to point here.
            throw new ApiException(
                403,
                options.IsLocal
                    ? $"Cannot answer for '{context.Request.Host}' because this server listens on this machine only. If a proxy "
                        + $"passes this name on, start the server with --allow-host {host}."
                    : $"Cannot answer for '{context.Request.Host}' because this server has no key and that is not the name or an "
                        + $"address of this machine. Start it with --allow-host {host}, or with a key.",
                code: "wrong_host"
            );
        };

    // A page of another site can make its own name point to this machine, and its browser then takes the answers for that site's. It
    // cannot do so with an address or with the machine's own name, and it does not know the key.
    private static bool IsOwnName(string host, ServerOptions options) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host, out var address) && (IPAddress.IsLoopback(address) || !options.IsLocal))
        || (
            !options.IsLocal
            && (
                options.ApiKey is not null
                || host.Equals(Environment.MachineName, StringComparison.OrdinalIgnoreCase)
                || host.Equals(Environment.MachineName + ".local", StringComparison.OrdinalIgnoreCase)
            )
        );

    /// <summary>Checks origin, key and size.</summary>
    internal static Func<HttpContext, RequestDelegate, Task> CheckAccess(ServerOptions options) =>
        async (context, next) =>
        {
            var request = context.Request;
            if (CrossOrigin.Answer(context, options.AllowedOrigins))
                return;
            var isOpen = request.Path.Value?.TrimEnd('/') is "/health" || Page.Has(request.Path);
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
                    $"The body has {request.ContentLength:N0} bytes; it must have at most {options.MaxBodyBytes:N0}.",
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

    // In constant time, whatever was sent. The name of the scheme has no case.
    private static bool IsKey(string header, string key) =>
        AuthenticationHeaderValue.TryParse(header, out var sent)
        && sent.Scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase)
        && CryptographicOperations.FixedTimeEquals(
            SHA256.HashData(Encoding.UTF8.GetBytes(sent.Parameter ?? "")),
            SHA256.HashData(Encoding.UTF8.GetBytes(key))
        );
}
