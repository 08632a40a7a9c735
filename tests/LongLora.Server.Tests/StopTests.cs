using System.Net;
using System.Text;

namespace LongLora.Server.Tests;

/// <summary>A server that stops while requests are answered: each is told why its answer ended.</summary>
public class StopTests
{
    // Many answers, one after the other: far more than the time allows.
    private const string Long = "\"prompt\":\"Once\",\"max_tokens\":400,\"ignore_eos\":true,\"n\":128";

    private static Task<RunningServer> Start() =>
        RunningServer.Start(o => o with { ShutdownTime = TimeSpan.FromSeconds(0.5), Defaults = o.Defaults with { MaxTokens = 400 } });

    private static StringContent Json(string json) => new(json, Encoding.UTF8, "application/json");

    [Fact]
    public async Task Whole_answers_and_waiting_requests_get_503()
    {
        await using var server = await Start();
        // More than are answered together.
        var asked = Enumerable
            .Range(0, 9)
            .Select(_ => server.Client.PostAsync("/v1/completions", Json($"{{{Long}}}"), TestContext.Current.CancellationToken))
            .ToList();
        await Task.Delay(500, TestContext.Current.CancellationToken);
        await server.Stop();
        foreach (var answer in asked)
        {
            using var response = await answer;
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
            Assert.True(response.Headers.RetryAfter?.Delta > TimeSpan.Zero);
            Assert.Contains("\"stopping\"", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        }
    }

    [Theory]
    [InlineData("/v1/completions", Long)]
    [InlineData("/v1/chat/completions", "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"n\":128,\"ignore_eos\":true")]
    public async Task Streams_end_with_an_error(string path, string request)
    {
        await using var server = await Start();
        using var message = new HttpRequestMessage(HttpMethod.Post, path) { Content = Json($"{{{request},\"stream\":true}}") };
        using var response = await server.Client.SendAsync(
            message,
            HttpCompletionOption.ResponseHeadersRead,
            TestContext.Current.CancellationToken
        );
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var stopped = server.Stop();
        var text = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        await stopped;
        var events = text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains("\"stopping\"", events[^1]);
    }

    [Fact]
    public async Task Short_answer_is_finished()
    {
        await using var server = await RunningServer.Start();
        using var message = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
        {
            Content = Json("{\"prompt\":\"Once\",\"max_tokens\":50,\"ignore_eos\":true,\"stream\":true}"),
        };
        using var response = await server.Client.SendAsync(
            message,
            HttpCompletionOption.ResponseHeadersRead,
            TestContext.Current.CancellationToken
        );
        var stopped = server.Stop();
        Assert.EndsWith("data: [DONE]\n\n", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        await stopped;
    }
}
