using System.Text;

namespace LongLora.Server.Tests;

/// <summary>What clients send may be large or hostile; the server refuses it in a sentence and keeps its memory.</summary>
public class LimitTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    public static TheoryData<string, string> LongPrompts =>
        new()
        {
            { "/v1/completions", $$"""{"prompt":"{{Repeat("Once upon a time. ", 1 << 20)}}"}""" },
            { "/v1/completions", $$"""{"prompt":"{{new string('a', 1 << 20)}}"}""" },
            { "/v1/completions", $$"""{"prompt":["Once","{{Repeat("中文", 1 << 19)}}"]}""" },
            { "/v1/chat/completions", $$"""{"messages":[{"role":"user","content":"{{Repeat("the dog ", 1 << 20)}}"}]}""" },
            { "/v1/responses", $$"""{"input":"{{Repeat("the dog ", 1 << 20)}}"}""" },
            { "/v1/embeddings", $$"""{"input":"{{Repeat("the dog ", 1 << 20)}}"}""" },
        };

    private static string Repeat(string text, int length) => string.Concat(Enumerable.Repeat(text, length / text.Length));

    [Theory]
    [MemberData(nameof(LongPrompts), DisableDiscoveryEnumeration = true)]
    public async Task Prompt_far_beyond_the_context_is_refused_by_its_size(string path, string json)
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Post(path, json);
        var error = body.GetProperty("error");
        Assert.Equal((400, "context_length_exceeded"), (status, error.GetProperty("code").GetString()));
        Assert.Contains("at least ", error.GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Equal(200, (await server.Post("/v1/completions", """{"prompt":"Once","max_tokens":1}""")).Status);
    }

    [Fact]
    public async Task Prompt_a_little_beyond_the_context_is_told_by_how_much()
    {
        await using var server = await RunningServer.Start();
        var prompt = Repeat("Once upon a time ", 2500);
        var count = server.Model.Tokenizer.Encode(prompt, addSpecial: true).Count;
        Assert.InRange(count, server.Model.Context, 4 * server.Model.Context);
        var (status, body) = await server.Post("/v1/completions", $$"""{"prompt":"{{prompt}}"}""");
        Assert.Equal(400, status);
        Assert.Contains(
            $"prompt has {count:N0} tokens",
            body.GetProperty("error").GetProperty("message").GetString(),
            StringComparison.Ordinal
        );
    }

    // Larger than what is read at once in memory, so that it goes by way of a file.
    [Fact]
    public async Task Large_body_that_fits_is_answered_like_a_small_one()
    {
        await using var server = await RunningServer.Start();
        var request = """{"prompt":"Once upon a time","max_tokens":8,"temperature":0}""";
        var small = await server.Post("/v1/completions", request);
        var large = await server.Post("/v1/completions", request + new string(' ', 3 * BodyRoom.Small));
        Assert.Equal((200, 200), (small.Status, large.Status));
        static string? Text(System.Text.Json.JsonElement body) => body.GetProperty("choices")[0].GetProperty("text").GetString();
        Assert.Equal(Text(small.Body), Text(large.Body));
    }

    [Fact]
    public async Task Message_of_an_error_has_at_most_500_characters()
    {
        await using var server = await RunningServer.Start();
        var name = new string('x', 5000);
        foreach (
            var json in new[]
            {
                $$"""{"messages":[{"role":"{{name}}","content":"a"}]}""",
                $$"""{"{{name}}":1,"messages":[{"role":"user","content":"a"}]}""",
                $$"""{"{{name}}":1,"{{name}}":1}""",
            }
        )
        {
            var (status, body) = await server.Post("/v1/chat/completions", json);
            Assert.Equal(400, status);
            Assert.InRange(body.GetProperty("error").GetProperty("message").GetString()!.Length, 100, 500);
            Assert.InRange(body.GetProperty("error").GetProperty("param").GetString()?.Length ?? 0, 0, 200);
        }
    }

    [Fact]
    public async Task Room_lets_bodies_in_in_their_order_and_never_more_than_fit()
    {
        const int each = 2 << 20;
        var room = new BodyRoom(5 << 20, 100);
        var (inside, most) = (0, 0);
        using var leaving = new CancellationTokenSource();
        async Task<int> Read(int i, CancellationToken cancellation) =>
            await room.Read(
                each,
                () =>
                {
                    var now = Interlocked.Increment(ref inside);
                    InterlockedMax(ref most, now);
                    Thread.Sleep(20);
                    Interlocked.Decrement(ref inside);
                    return i;
                },
                cancellation
            );
        var tasks = Enumerable.Range(0, 12).Select(i => Read(i, i == 5 ? leaving.Token : Cancelled)).ToList();
        await leaving.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => tasks[5]);
        tasks.RemoveAt(5);
        var read = await Task.WhenAll(tasks);
        Assert.Equal([0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11], read);
        Assert.Equal(2, most);
        await Assert.ThrowsAsync<InvalidOperationException>(() =>
            room.Read<int>(each, () => throw new InvalidOperationException(), Cancelled)
        );
        Assert.Equal(7, await room.Read(9L << 20, () => 7, Cancelled)); // more than there is room for: alone
    }

    private static void InterlockedMax(ref int target, int value)
    {
        for (var seen = Volatile.Read(ref target); seen < value; seen = Volatile.Read(ref target))
            Interlocked.CompareExchange(ref target, value, seen);
    }

    [Fact]
    public async Task Every_answer_says_that_its_type_must_not_be_guessed()
    {
        await using var server = await RunningServer.Start(o => o with { ApiKey = "secret" });
        foreach (var path in new[] { "/", "/page.js", "/health", "/health/", "/openapi.json", "/nothing", "/v1/models", "/metrics" })
        {
            using var response = await server.Client.GetAsync(path, Cancelled);
            Assert.Equal("nosniff", Assert.Single(response.Headers.GetValues("X-Content-Type-Options")));
        }
        server.Authorize("secret");
        foreach (var json in new[] { "{", """{"prompt":"Once","max_tokens":1}""", """{"prompt":"Once","max_tokens":1,"stream":true}""" })
        {
            using var content = new StringContent(json, Encoding.UTF8, "application/json");
            using var response = await server.Client.PostAsync("/v1/completions", content, Cancelled);
            Assert.Equal("nosniff", Assert.Single(response.Headers.GetValues("X-Content-Type-Options")));
        }
    }

    [Fact]
    public async Task Health_needs_no_key_with_or_without_a_slash()
    {
        await using var server = await RunningServer.Start(o => o with { ApiKey = "secret" });
        foreach (var path in new[] { "/health", "/health/" })
            Assert.Equal(200, (int)(await server.Client.GetAsync(path, Cancelled)).StatusCode);
        Assert.Equal(401, (int)(await server.Client.GetAsync("/v1/models/", Cancelled)).StatusCode);
    }

    [Theory]
    [InlineData(null, "evil.example", 403)] // a name that a page made point here
    [InlineData(null, "127.0.0.1.evil.example", 403)]
    [InlineData(null, "192.168.1.5", 200)]
    [InlineData(null, "[fe80::1]", 200)]
    [InlineData(null, "LOCALHOST", 200)]
    [InlineData(null, "box.lan", 200)] // by --allow-host
    [InlineData("secret", "evil.example", 200)] // the page does not know the key
    public async Task Server_for_other_machines_without_a_key_answers_only_for_its_own_names(string? key, string host, int status)
    {
        await using var server = await RunningServer.Start(o => o with { Host = "0.0.0.0", ApiKey = key, AllowedHosts = ["box.lan"] });
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"http://127.0.0.1:{server.Address.Port}/v1/models"));
        request.Headers.Host = host;
        if (key is not null)
            server.Authorize(key);
        using var response = await server.Client.SendAsync(request, Cancelled);
        Assert.Equal(status, (int)response.StatusCode);
        if (status == 403)
            Assert.Contains("--allow-host " + host, await response.Content.ReadAsStringAsync(Cancelled), StringComparison.Ordinal);
    }
}
