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

    private RunningServer(WebApplication app, ChatModel model)
    {
        (_app, Model) = (app, model);
        // Who leaves a stream leaves: by default the handler would read on for two seconds to keep the connection.
        var handler = new SocketsHttpHandler { MaxResponseDrainSize = 0 };
        Client = new HttpClient(handler) { BaseAddress = new Uri(app.Urls.First()), Timeout = TimeSpan.FromSeconds(100) };
    }

    internal static string Stories => Path.Combine(AppContext.BaseDirectory, "Goldens", "stories260K-hf");

    internal ChatModel Model { get; }

    internal HttpClient Client { get; }

    internal Uri Address => Client.BaseAddress!;

    internal static async Task<RunningServer> Start(Func<ServerOptions, ServerOptions>? change = null, string? model = null, int kept = 4)
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
        var app = ChatServer.Create(change?.Invoke(options) ?? options, loaded);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return new(app, loaded);
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

    internal async Task<(int Status, JsonElement Body)> Ask(string question, string more = "") =>
        await Post("/v1/chat/completions", $$"""{"messages":[{"role":"user","content":{{JsonSerializer.Serialize(question)}}}]{{more}}}""");

    internal void Authorize(string key) => Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app.DisposeAsync();
        Model.Dispose();
    }
}
