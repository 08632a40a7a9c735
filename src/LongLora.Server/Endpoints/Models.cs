using System.Reflection;
using LongLora.Generation;
using Microsoft.AspNetCore.Http;

namespace LongLora.Server;

/// <summary><c>GET /v1/models</c>, <c>/v1/models/NAME</c>, <c>/health</c> and <c>/version</c>: what the server is.</summary>
internal static class Models
{
    /// <summary>The version of this program.</summary>
    internal static string Version { get; } =
        typeof(Models).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    internal static IResult List(ServedModels models) =>
        Results.Json(new { @object = "list", data = models.All.Select(m => Describe(m, models)) }, EndpointFormat.Json);

    internal static IResult Find(string name, ServedModels models) =>
        Results.Json(Describe(models.Find(Uri.UnescapeDataString(name)), models), EndpointFormat.Json);

    /// <summary>503 until the model is loaded, so that a supervisor sends no requests before.</summary>
    internal static IResult CheckHealth(ServedModels models) =>
        Results.Json(new { status = models.IsLoaded ? "ok" : "loading" }, EndpointFormat.Json, statusCode: models.IsLoaded ? 200 : 503);

    internal static IResult TellVersion() => Results.Json(new { version = Version }, EndpointFormat.Json);

    /// <summary>Tokens of a model's context; null where a text has no end because the cache is streamed.</summary>
    internal static int? FindContext(ChatModel model) => model.IsEndless ? null : model.Context;

    private static object Describe(ChatModel model, ServedModels models) =>
        new
        {
            id = model.Name,
            @object = "model",
            created = models.Started.ToUnixTimeSeconds(),
            owned_by = "longlora",
            context_length = FindContext(model),
            chat = model.HasTemplate,
        };
}
