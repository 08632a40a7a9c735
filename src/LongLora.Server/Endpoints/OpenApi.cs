using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary>
/// <c>GET /openapi.json</c>: the API in the form that tools read. A test compares it with the endpoints and their fields.
/// </summary>
internal static class OpenApi
{
    internal static IResult Describe(HttpContext context)
    {
        var document = Read();
        document["info"]!["version"] = Models.Version;
        document["servers"] = new JsonArray(new JsonObject { ["url"] = $"{context.Request.Scheme}://{context.Request.Host}" });
        return Results.Text(document.ToJsonString(), "application/json");
    }

    /// <summary>The document without what depends on the server.</summary>
    internal static JsonObject Read()
    {
        using var stream = typeof(OpenApi).Assembly.GetManifestResourceStream("openapi.json")!;
        return JsonNode.Parse(stream)!.AsObject();
    }
}
