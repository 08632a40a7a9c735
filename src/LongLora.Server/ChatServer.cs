using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;

namespace LongLora.Server;

/// <summary>
/// Models behind HTTP: OpenAI's API, a page to ask about documents at <c>/</c>, and metrics for Prometheus. <c>/openapi.json</c> describes
/// every endpoint; each is one file of the folder <c>Endpoints</c>.
/// </summary>
public static class ChatServer
{
    /// <summary>Makes the application, which its caller runs and disposes of.</summary>
    /// <param name="options">How it is served.</param>
    /// <param name="model">The model; the caller disposes of it, after the application.</param>
    /// <param name="configure">Changes what else the host has, such as logging; null for nothing.</param>
    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    public static WebApplication Create(ServerOptions options, ChatModel model, Action<WebApplicationBuilder>? configure = null) =>
        Create(options, [model], configure);

    /// <summary>Makes the application with several models, of which a request chooses one by name.</summary>
    /// <param name="options">How they are served.</param>
    /// <param name="models">
    /// At least one; the first answers requests that name none. <see cref="ChatModel.OpenBeside"/> puts them into one queue. The caller
    /// disposes of them, after the application.
    /// </param>
    /// <param name="configure">Changes what else the host has, such as logging; null for nothing.</param>
    /// <exception cref="ConfigurationException">An option is wrong, there is no model, or two have the same name.</exception>
    public static WebApplication Create(
        ServerOptions options,
        IReadOnlyList<ChatModel> models,
        Action<WebApplicationBuilder>? configure = null
    )
    {
        if (models.Count == 0)
            throw new ConfigurationException("There is no model to serve; give at least one.");
        if (models.GroupBy(m => m.Name).FirstOrDefault(g => g.Count() > 1) is { } twice)
            throw new ConfigurationException($"Two models have the name '{twice.Key}'; each needs a name of its own.");
        var served = new ServedModels();
        served.Set(models);
        return Create(options, served, configure);
    }

    /// <summary>Makes the application, whose models may be loaded later.</summary>
    internal static WebApplication Create(ServerOptions options, ServedModels models, Action<WebApplicationBuilder>? configure = null)
    {
        options.Validate();
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        // The caller of StartAsync gets the exception and tells it in a sentence.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);
        builder.WebHost.UseUrls(options.Url);
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = options.MaxBodyBytes;
            // A machine that computes may not look at a socket for a while.
            kestrel.Limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(30));
            if (options.CertificateFile is not null)
                kestrel.ConfigureHttpsDefaults(https => Certificates.Use(https, options));
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = options.ShutdownTime + StopDeadline.Farewell);
        builder.Services.AddRequestDecompression(PackedBodies.Add);
        builder.Services.AddSingleton(services => new StopDeadline(options, services.GetRequiredService<IHostApplicationLifetime>()));
        builder.Services.AddSingleton(_ => new AnswerMeter(options.Queue, () => models.ParallelAnswers));
        builder.Services.AddSingleton(new BodyRoom(options.MaxBodyBytes, options.Queue));
        builder.Services.AddSingleton(_ => new DocumentRoom(options));
        AddMetrics(builder.Services);
        configure?.Invoke(builder);

        var app = builder.Build();
        app.Use(ErrorResponses.Create(app.Logger));
        app.Use(app.Services.GetRequiredService<StopDeadline>().Apply);
        app.Use(Guard.CheckHost(options));
        // By default only a proxy on this machine is believed.
        app.UseForwardedHeaders(
            new ForwardedHeadersOptions { ForwardedHeaders = ForwardedHeaders.XForwardedHost | ForwardedHeaders.XForwardedProto }
        );
        app.Use(Guard.CheckAccess(options));
        app.UseRequestDecompression();
        app.Use(PackedBodies.Check);
        Map(app, options, models);
        return app;
    }

    private static void AddMetrics(IServiceCollection services) =>
        services
            .AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService("longlora", serviceVersion: Models.Version))
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

    private static void Map(WebApplication app, ServerOptions options, ServedModels models)
    {
        app.MapPost("/v1/chat/completions", context => ChatCompletions.Answer(context, models, options));
        app.MapPost("/v1/completions", context => Completions.Answer(context, models, options));
        app.MapPost("/v1/responses", context => Responses.Answer(context, models, options));
        app.MapPost("/v1/embeddings", Task<IResult> (HttpContext context) => Embeddings.Answer(context, models));
        app.MapPost("/tokenize", Task<IResult> (HttpContext context) => Tokens.Tokenize(context, models));
        app.MapPost("/detokenize", Task<IResult> (HttpContext context) => Tokens.Detokenize(context, models));
        app.MapPost("/tokens", Task<IResult> (HttpContext context) => Tokens.Count(context, models));
        app.MapPost("/documents", Task<IResult> (HttpContext context, DocumentRoom room) =>
            DocumentUpload.Answer(context, models, options, room)
        );
        app.MapRead("/v1/models", () => Models.List(models));
        app.MapRead("/v1/models/{**name}", (string name) => Models.Find(name, models));
        app.MapRead("/health", () => Models.CheckHealth(models));
        app.MapRead("/version", Models.TellVersion);
        app.MapRead("/openapi.json", OpenApi.Describe);
        app.MapPrometheusScrapingEndpoint();
        Page.Map(app);
    }

    /// <summary>Maps GET and HEAD.</summary>
    internal static void MapRead(this IEndpointRouteBuilder app, string path, Delegate handler) =>
        app.MapMethods(path, [HttpMethods.Get, HttpMethods.Head], handler);
}
