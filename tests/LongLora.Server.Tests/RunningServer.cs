using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using LongLora.Generation;
using Microsoft.AspNetCore.Builder;

namespace LongLora.Server.Tests;

/// <summary>stories260K on a port of its own, with the model beside it to compare with.</summary>
internal sealed class RunningServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly List<ChatModel> _models;

    private RunningServer(WebApplication app, List<ChatModel> models)
    {
        (_app, _models) = (app, models);
        // Who leaves a stream leaves: by default the handler would read on for two seconds to keep the connection.
        var handler = new SocketsHttpHandler { MaxResponseDrainSize = 0 };
        Client = new HttpClient(handler) { BaseAddress = new Uri(app.Urls.First()), Timeout = TimeSpan.FromSeconds(100) };
    }

    internal static string Stories => Path.Combine(AppContext.BaseDirectory, "Goldens", "stories260K-hf");

    internal ChatModel Model => _models[0];

    internal IReadOnlyList<Microsoft.AspNetCore.Http.Endpoint> Endpoints =>
        [.. ((Microsoft.AspNetCore.Routing.IEndpointRouteBuilder)_app).DataSources.SelectMany(d => d.Endpoints)];

    internal HttpClient Client { get; }

    internal Uri Address => Client.BaseAddress!;

    internal static async Task<RunningServer> Start(
        Func<ServerOptions, ServerOptions>? change = null,
        string? model = null,
        int kept = 4,
        string? beside = null
    )
    {
        var options = new ServerOptions
        {
            Port = 0,
            Defaults = new() { MaxTokens = 24 },
        };
        var loaded = ChatModel.Open(
            new ChatModelOptions
            {
                Model = model ?? Stories,
                Template = model is null ? "llama2" : "auto",
                Device = "cpu",
                KeptConversations = kept,
            }
        );
        List<ChatModel> models = [loaded];
        if (beside is not null)
            models.Add(
                loaded.OpenBeside(
                    new ChatModelOptions
                    {
                        Model = model ?? Stories,
                        Name = beside,
                        Device = "cpu",
                    }
                )
            );
        try
        {
            var app = ChatServer.Create(change?.Invoke(options) ?? options, models);
            await app.StartAsync(TestContext.Current.CancellationToken);
            return new(app, models);
        }
        catch
        {
            models.ForEach(m => m.Dispose());
            throw;
        }
    }

    /// <summary>Sends JSON, however wrong, and reads what comes back.</summary>
    internal async Task<(int Status, JsonElement Body)> Post(string path, string json)
    {
        using var content = new StringContent(json, Encoding.UTF8, "application/json");
        using var response = await Client.PostAsync(path, content, TestContext.Current.CancellationToken);
        return (
            (int)response.StatusCode,
            JsonElement.Parse(await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken))
        );
    }

    /// <summary>Sends JSON, and reads all server-sent events of the answer: data that is JSON, and comments.</summary>
    internal async Task<(IReadOnlyList<JsonElement> Events, IReadOnlyList<string> Comments)> Stream(string path, string json)
    {
        using var content = new StringContent(json, Encoding.UTF8, "application/json");
        using var response = await Client.PostAsync(path, content, TestContext.Current.CancellationToken);
        var text = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.True(response.Content.Headers.ContentType?.MediaType == "text/event-stream", text);
        var lines = text.Split('\n');
        return (
            [.. lines.Where(l => l.StartsWith("data: {", StringComparison.Ordinal)).Select(l => JsonElement.Parse(l[6..]))],
            [.. lines.Where(l => l.StartsWith(": ", StringComparison.Ordinal)).Select(l => l[2..])]
        );
    }

    internal async Task<(int Status, JsonElement Body)> Ask(string question, string more = "") =>
        await Post("/v1/chat/completions", $$"""{"messages":[{"role":"user","content":{{JsonSerializer.Serialize(question)}}}]{{more}}}""");

    /// <summary>Stops it, as a signal does.</summary>
    internal Task Stop() => _app.StopAsync(TestContext.Current.CancellationToken);

    internal void Authorize(string key) => Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app.DisposeAsync();
        _models.ForEach(m => m.Dispose());
    }
}
