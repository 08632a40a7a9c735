using System.Text;
using LongLora.Generation;

namespace LongLora.Server.Tests;

public class RequestTests
{
    public static TheoryData<string, int, string> Wrong =>
        new()
        {
            { "{\"messages\":[", 400, "not JSON" },
            { "[1]", 400, "must be an object" },
            { "{}", 400, "messages is missing" },
            { "{\"messages\":[]}", 400, "messages is missing or empty" },
            { "{\"messages\":[1]}", 400, "messages[0] is 1" },
            { "{\"messages\":[{\"role\":\"wizard\",\"content\":\"x\"}]}", 400, "one of system, developer, user, assistant" },
            { "{\"messages\":[{\"role\":\"user\"}]}", 400, "content is missing" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", 400, "reads nothing else" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":-2}", 400, "max_tokens is -2; it must be at least -1" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":0}", 400, "max_tokens is 0; it must be at least 1" },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":1e99}",
                400,
                "max_tokens is 1e99; it must be at most 2147483647"
            },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":1.5}",
                400,
                "max_tokens is 1.5; it must be a whole number"
            },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":\"hot\"}", 400, "temperature is \"hot\"" },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":2.5}",
                400,
                "temperature is 2.5; it must be at most 2"
            },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_p\":-0.1}", 400, "top_p is -0.1; it must be at least 0" },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"seed\":9223372036854775808}",
                400,
                "seed is 9223372036854775808; it must be at most 9223372036854775807"
            },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":0}", 400, "n is 0; it must be at least 1" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"n\":1000}", 400, "n is 1000; it must be at most 128" },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"min_tokens\":30}",
                400,
                "min_tokens is 30; it must be at most 24, the most tokens of this answer"
            },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logit_bias\":{\"5\":101}}",
                400,
                "logit_bias.5 is 101; it must be at most 100"
            },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logit_bias\":{\"99999\":1}}",
                400,
                "logit_bias has the key '99999'"
            },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop_token_ids\":[3,99999]}",
                400,
                "stop_token_ids[1] is 99999; it must be at most 511"
            },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{}]}", 400, "tools[0] is not of type function" },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":\"required\"}",
                400,
                "tool_choice requires a call and there are no tools"
            },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"modalities\":[\"audio\"]}", 400, "Cannot do what modalities says" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"store\":true}", 400, "Cannot do what store says" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"top_logprobs\":3}", 400, "unless logprobs is true" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop\":[1]}", 400, "stop is [1]" },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperatur\":1}",
                400,
                "field temperatur because this server does not know it. Did you mean 'temperature'?"
            },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"guided_json\":{}}", 400, "field guided_json" },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream_options\":{\"include_usag\":true}}",
                400,
                "field stream_options.include_usag because this server does not know it. Did you mean 'include_usage'?"
            },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"chat_template_kwargs\":{\"enable_thinking\":false}}",
                400,
                "Cannot do what chat_template_kwargs.enable_thinking says"
            },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"reasoning_effort\":\"low\"}",
                400,
                "Cannot do what reasoning_effort says"
            },
            {
                "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"continue_final_message\":true}",
                400,
                "Cannot continue the last message"
            },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"seed\":1,\"seed\":2}", 400, "seed is there twice" },
            { "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"wieght\":0}]}", 400, "field messages[0].wieght" },
        };

    [Fact]
    public async Task Rubbish_is_answered_with_what_is_wrong_and_the_server_goes_on()
    {
        await using var server = await RunningServer.Start();
        foreach (var row in Wrong)
        {
            var (json, status, text) = row.Data;
            var (seen, body) = await server.Post("/v1/chat/completions", json);
            Assert.True(seen == status, $"{json}: {seen}");
            Assert.Contains(text, body.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
            Assert.Equal("invalid_request_error", body.GetProperty("error").GetProperty("type").GetString());
        }
        Assert.Equal(200, (await server.Ask("Hi")).Status);
    }

    [Fact]
    public async Task Prompt_beyond_the_context_large_bodies_and_wrong_paths_have_their_own_codes()
    {
        await using var server = await RunningServer.Start(o => o with { MaxBodyBytes = 1 << 20, MaxTokens = 100 });
        var (status, body) = await server.Ask(string.Concat(Enumerable.Repeat("Tim had a red dog. ", 300)));
        Assert.Equal((400, "context_length_exceeded"), (status, body.GetProperty("error").GetProperty("code").GetString()));
        Assert.Contains("512 tokens", body.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
        (status, body) = await server.Ask(new string('x', 10 << 20));
        Assert.Equal((413, "body_too_large"), (status, body.GetProperty("error").GetProperty("code").GetString()));
        Assert.Equal(400, (await server.Ask("Hi", ",\"max_tokens\":101")).Status);
        Assert.Equal(404, (await server.Post("/v1/nothing", "{}")).Status);
        using var got = await server.Client.GetAsync("/v1/chat/completions", TestContext.Current.CancellationToken);
        Assert.Equal(405, (int)got.StatusCode);
        using var form = await server.Client.PostAsync(
            "/v1/completions",
            new StringContent("a=b", Encoding.UTF8, "text/plain"),
            TestContext.Current.CancellationToken
        );
        Assert.Equal(415, (int)form.StatusCode);
        Assert.Equal(200, (await server.Ask("Hi")).Status);
    }

    [Fact]
    public async Task Pages_of_other_origins_and_other_names_of_this_machine_are_kept_out()
    {
        await using var server = await RunningServer.Start(o => o with { AllowedOrigins = ["https://chat.example"] });
        async Task<(int, string?)> Get(string header, string value)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
            request.Headers.TryAddWithoutValidation(header, value);
            using var response = await server.Client.SendAsync(request, TestContext.Current.CancellationToken);
            return (
                (int)response.StatusCode,
                response.Headers.TryGetValues("Access-Control-Allow-Origin", out var allowed) ? allowed.Single() : null
            );
        }
        Assert.Equal((403, null), await Get("Origin", "https://evil.example"));
        Assert.Equal((403, null), await Get("Host", "evil.example"));
        Assert.Equal((200, "https://chat.example"), await Get("Origin", "https://chat.example"));
        Assert.Equal((200, null), await Get("Origin", server.Address.GetLeftPart(UriPartial.Authority)));
    }

    [Fact]
    public async Task Completion_goes_on_from_text_or_token_ids_as_the_model_does()
    {
        await using var server = await RunningServer.Start();
        var expected = await server.Model.CompleteAsync("Once upon a time", new GenerationOptions { MaxTokens = 10 }).WholeAsync();
        var (_, text) = await server.Post("/v1/completions", "{\"prompt\":\"Once upon a time\",\"max_tokens\":10,\"logprobs\":1}");
        Assert.Equal(expected.Text, text.GetProperty("choices")[0].GetProperty("text").GetString());
        Assert.Equal(10, text.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("tokens").GetArrayLength());
        var ids = string.Join(',', server.Model.Tokenizer.Encode("Once upon a time", addSpecial: true));
        var (_, numbers) = await server.Post("/v1/completions", $$"""{"prompt":[{{ids}}],"max_tokens":10}""");
        Assert.Equal(expected.Text, numbers.GetProperty("choices")[0].GetProperty("text").GetString());
        Assert.Equal(400, (await server.Post("/v1/completions", "{\"prompt\":[99999]}")).Status);
        Assert.Equal(400, (await server.Post("/v1/completions", "{\"prompt\":{}}")).Status);
    }

    [Fact]
    public async Task Two_documents_in_turn_are_read_once_each()
    {
        await using var server = await RunningServer.Start();
        string[] documents = ["Tim had a red dog. The dog ran to the park.", "Lily saw a big cat. The cat sat on a mat."];
        var first = new int[2];
        for (var round = 0; round < 3; round++)
        {
            for (var d = 0; d < 2; d++)
            {
                var (_, body) = await server.Ask($"{documents[d]}\n\nWhat was it, {round}?", ",\"max_tokens\":4");
                var usage = body.GetProperty("usage");
                var cached = usage.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32();
                if (round == 0)
                    first[d] = usage.GetProperty("prompt_tokens").GetInt32();
                else
                    Assert.InRange(cached, first[d] - 25, first[d]);
            }
        }
    }

    [Fact]
    public async Task Document_gives_its_text_and_tokens_and_the_page_is_served_with_a_policy()
    {
        await using var server = await RunningServer.Start();
        using var pdf = new ByteArrayContent(
            await File.ReadAllBytesAsync(
                Path.Combine(AppContext.BaseDirectory, "Material", "two-columns.pdf"),
                TestContext.Current.CancellationToken
            )
        );
        using var read = await server.Client.PostAsync("/documents?name=two-columns.pdf", pdf, TestContext.Current.CancellationToken);
        var made = System.Text.Json.JsonElement.Parse(await read.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        Assert.Equal(server.Model.Tokenizer.Encode(made.GetProperty("text").GetString()!).Count, made.GetProperty("tokens").GetInt32());
        Assert.True(made.GetProperty("tokens").GetInt32() > 500);
        using var odd = await server.Client.PostAsync(
            "/documents?name=a.exe",
            new ByteArrayContent([1, 2]),
            TestContext.Current.CancellationToken
        );
        Assert.Equal(400, (int)odd.StatusCode);
        using var damaged = await server.Client.PostAsync(
            "/documents?name=a.pdf",
            new ByteArrayContent([1, 2]),
            TestContext.Current.CancellationToken
        );
        Assert.Equal(400, (int)damaged.StatusCode);
        using var page = await server.Client.GetAsync("/", TestContext.Current.CancellationToken);
        Assert.Contains("default-src 'none'", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        var html = await page.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.DoesNotContain("//", html.Replace("<!--", "", StringComparison.Ordinal), StringComparison.Ordinal); // nothing from elsewhere
        var (_, count) = await server.Post("/tokens", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
        Assert.Equal(
            (server.Model.Encode([new("user", "Hi")]).Count, 512),
            (count.GetProperty("tokens").GetInt32(), count.GetProperty("context").GetInt32())
        );
    }
}
