using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace LongLora.Server;

/// <summary>Decides which web pages may use the server, and answers the questions that browsers ask before a request (CORS).</summary>
internal static class CrossOrigin
{
    /// <summary>Stands for every origin.</summary>
    internal const string Any = "*";

    /// <summary>Checks the origin of a request.</summary>
    /// <returns>Whether the request was such a question and has been answered.</returns>
    /// <exception cref="ApiException">Pages of the origin may not use the server.</exception>
    internal static bool Answer(HttpContext context, IReadOnlyList<string> allowed)
    {
        var (request, headers) = (context.Request, context.Response.Headers);
        if (request.Headers.Origin is not [{ } origin] || origin == $"{request.Scheme}://{request.Host}")
            return false;
        var any = allowed.Contains(Any);
        if (!any && !allowed.Contains(origin))
            throw new ApiException(
                403,
                $"Cannot answer a page of {origin} because it is not allowed. Start the server with --allow-origin {origin}.",
                code: "wrong_origin"
            );
        headers.AccessControlAllowOrigin = any ? Any : origin;
        headers.AccessControlExposeHeaders = "Retry-After";
        if (!any)
            headers.Vary = "Origin";
        if (request.Method != HttpMethods.Options || StringValues.IsNullOrEmpty(request.Headers.AccessControlRequestMethod))
            return false;
        // OpenAI's client sends headers of its own, and new ones now and then.
        headers.AccessControlAllowHeaders = StringValues.IsNullOrEmpty(request.Headers.AccessControlRequestHeaders)
            ? "authorization, content-type"
            : request.Headers.AccessControlRequestHeaders;
        headers.AccessControlAllowMethods = "GET, HEAD, POST";
        headers.AccessControlMaxAge = "600";
        if (request.Headers.ContainsKey("Access-Control-Request-Private-Network"))
            headers["Access-Control-Allow-Private-Network"] = "true";
        context.Response.StatusCode = 204;
        return true;
    }

    /// <summary>Whether a text is an origin as browsers send it; <c>null</c> is that of files and of sandboxed pages.</summary>
    internal static bool IsOrigin(string text) =>
        text == "null" || (Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.GetLeftPart(UriPartial.Authority) == text);

    /// <summary>Whether a header of an answer belongs to these rules.</summary>
    internal static bool IsHeader(string name) =>
        name.StartsWith("Access-Control-", StringComparison.OrdinalIgnoreCase) || name.Equals("Vary", StringComparison.OrdinalIgnoreCase);
}
