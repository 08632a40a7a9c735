using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary>The page at <c>/</c>: three files inside the library, nothing from elsewhere.</summary>
internal static class Page
{
    private static readonly Dictionary<string, (string File, string Type)> s_files = new(StringComparer.Ordinal)
    {
        ["/"] = ("index.html", "text/html; charset=utf-8"),
        ["/page.css"] = ("page.css", "text/css; charset=utf-8"),
        ["/page.js"] = ("page.js", "text/javascript; charset=utf-8"),
        ["/favicon.svg"] = ("favicon.svg", "image/svg+xml"),
    };

    internal static bool Has(PathString path) => s_files.ContainsKey(path.Value ?? "");

    internal static void Map(WebApplication app)
    {
        foreach (var (path, (file, type)) in s_files)
        {
            var bytes = Read(file);
            app.MapRead(path, (HttpContext context) =>
            {
                context.Response.Headers.ContentSecurityPolicy =
                    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
                    + "form-action 'none'; frame-ancestors 'none'";
                context.Response.Headers["Referrer-Policy"] = "no-referrer";
                context.Response.Headers.CacheControl = "no-cache";
                return Results.Bytes(bytes, type);
            });
        }
    }

    private static byte[] Read(string file)
    {
        using var stream = typeof(Page).Assembly.GetManifestResourceStream("page/" + file)!;
        using var bytes = new MemoryStream();
        stream.CopyTo(bytes);
        return bytes.ToArray();
    }
}
