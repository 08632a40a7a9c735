using System.Text.Json;
using LongLora.Documents;
using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Metrics;

namespace LongLora.Server;

/// <summary>
/// A model behind HTTP: OpenAI's <c>/v1/models</c>, <c>/v1/chat/completions</c> and <c>/v1/completions</c>; <c>/documents</c> and
/// <c>/tokens</c> for the page at
/// <c>/</c>; <c>/health</c>; <c>/metrics</c> for Prometheus.
/// </summary>
public static class ChatServer
{
    /// <summary>Makes the application, which its caller runs and disposes of.</summary>
    /// <param name="options">How it is served.</param>
    /// <param name="model">The model; the caller disposes of it, after the application.</param>
    /// <param name="configure">Changes what else the host has, such as logging; null for nothing.</param>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    public static WebApplication Create(ServerOptions options, ChatModel model, Action<WebApplicationBuilder>? configure = null)
    {
        options.Validate();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        builder.WebHost.UseUrls($"http://{(options.Host.Contains(':') ? $"[{options.Host}]" : options.Host)}:{options.Port}");
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.MaxBodyBytes;
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = options.ShutdownTime);
        builder.Services.AddSingleton(_ => new AnswerMeter(options.Queue));
        builder
            .Services.AddOpenTelemetry()
            .WithMetrics(metrics =>
                metrics
                    .AddMeter(
                        AnswerMeter.MeterName,
                        "Microsoft.AspNetCore.Hosting",
                        "Microsoft.AspNetCore.Server.Kestrel",
                        "System.Runtime"
                    )
                    .AddPrometheusExporter()
            );
        configure?.Invoke(builder);

        var app = builder.Build();
        app.Use(Guard.Errors(app.Logger));
        app.Use(Guard.Access(options));
        app.MapGet("/health", () => Json(new { status = "ok" }));
        app.MapPrometheusScrapingEndpoint();
        app.MapGet("/v1/models", () => Json(new { @object = "list", data = new[] { Describe(model) } }));
        app.MapGet("/v1/models/{name}", (string name) =>
            name == model.Name
                ? Json(Describe(model))
                : throw new ApiException(404, $"There is no model '{name}'; there is '{model.Name}'.", "model", "model_not_found")
        );
        app.MapPost("/v1/chat/completions", context => Complete(context, model, body => GenerationRequest.Chat(body, model, options)));
        app.MapPost("/v1/completions", context => Complete(context, model, body => GenerationRequest.Completion(body, model, options)));
        app.MapPost("/tokens", async Task<IResult> (HttpContext context, CancellationToken _) => Count(await Body(context), model));
        app.MapPost("/documents", (HttpContext context, string? name) => Document(context, name, model));
        Page.Map(app);
        return app;
    }

    private static readonly DateTimeOffset s_started = DateTimeOffset.UtcNow;

    private static object Describe(ChatModel model) =>
        new
        {
            id = model.Name,
            @object = "model",
            created = s_started.ToUnixTimeSeconds(),
            owned_by = "longlora",
            context_length = model.Context,
            chat = model.HasTemplate,
        };

    private static IResult Json(object value) => Results.Json(value, Answers.Json);

    private static async Task<JsonElement> Body(HttpContext context)
    {
        if (!context.Request.HasJsonContentType())
            throw new ApiException(415, $"Content-Type is {context.Request.ContentType ?? "missing"}; it must be application/json.");
        try
        {
            using var document = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
            return document.RootElement.Clone();
        }
        catch (JsonException e)
        {
            throw new ApiException(400, $"The body is no JSON: {e.Message}", code: "invalid_json");
        }
    }

    private static async Task Complete(HttpContext context, ChatModel model, Func<JsonElement, GenerationRequest> read)
    {
        var request = read(await Body(context));
        var pieces = context.RequestServices.GetRequiredService<AnswerMeter>().Count(request.AnswerAsync(model), context.RequestAborted);
        var answers = new Answers(
            (request.IsChat ? "chatcmpl-" : "cmpl-") + Guid.NewGuid().ToString("N"),
            DateTimeOffset.UtcNow.ToUnixTimeSeconds(),
            model.Name,
            model.Tokenizer,
            request.IsChat
        );
        if (request.IsStream)
            await Stream(context, pieces, answers, request.SendsUsage);
        else
            await Json(answers.Whole(await pieces.WholeAsync(context.RequestAborted))).ExecuteAsync(context);
    }

    // Pieces are sent while further ones are made. Until the first one an error still has a status of its own.
    private static async Task Stream(HttpContext context, IAsyncEnumerable<AnswerPiece> answer, Answers answers, bool sendsUsage)
    {
        await using var pieces = answer.GetAsyncEnumerator(context.RequestAborted);
        var isMore = await pieces.MoveNextAsync();
        context.Response.ContentType = "text/event-stream";
        context.Response.Headers.CacheControl = "no-cache";
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        if (answers.First() is { } first)
            await Send(first);
        try
        {
            for (; isMore; isMore = await pieces.MoveNextAsync())
            {
                await Send(pieces.Current.Result is { } whole ? answers.Last(whole) : answers.Text(pieces.Current.Text));
                if (sendsUsage && pieces.Current.Result is { } counted)
                    await Send(answers.UsageAlone(counted));
            }
            await context.Response.WriteAsync("data: [DONE]\n\n", context.RequestAborted);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            await Send(Guard.AsApi(e).Body); // the status has been sent
            throw;
        }

        async Task Send(object piece)
        {
            await context.Response.WriteAsync($"data: {JsonSerializer.Serialize(piece, Answers.Json)}\n\n", context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }
    }

    // How much of the context a conversation takes.
    private static IResult Count(JsonElement body, ChatModel model)
    {
        try
        {
            return Json(new { tokens = model.Encode(GenerationRequest.Messages(new RequestFields(body))).Count, context = model.Context });
        }
        catch (LongLoraException e)
        {
            throw new ApiException(400, e.Message, "messages");
        }
    }

    // The text of a file that was sent as the body.
    private static async Task<IResult> Document(HttpContext context, string? name, ChatModel model)
    {
        if (string.IsNullOrWhiteSpace(name))
            throw new ApiException(400, "Say what the file is called: POST /documents?name=book.pdf", "name", "invalid_value");
        using var bytes = new MemoryStream();
        await context.Request.Body.CopyToAsync(bytes, context.RequestAborted);
        bytes.Position = 0;
        try
        {
            var text = await Task.Run(() => DocumentText.Read(bytes, Path.GetFileName(name)));
            return Json(
                new
                {
                    name = Path.GetFileName(name),
                    text,
                    tokens = model.Tokenizer.Encode(text).Count,
                    context = model.Context,
                }
            );
        }
        catch (LongLoraException e)
        {
            throw new ApiException(400, e.Message, "name", "unreadable_document");
        }
    }
}
