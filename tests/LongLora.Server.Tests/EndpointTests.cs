using System.Text.Json;
using LongLora.Generation;
using Microsoft.AspNetCore.Routing;

namespace LongLora.Server.Tests;

/// <summary>Endpoints besides chat and completions, and what streams begin with.</summary>
public class EndpointTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Stream_begins_before_its_turn_and_tells_how_much_is_read()
    {
        await using var server = await RunningServer.Start(o =>
            o with
            {
                Defaults = new() { MaxTokens = 4, PrefillChunk = 16 },
            }
        );
        var words = string.Concat(Enumerable.Repeat("dog ", 50));
        var ids = server.Model.Encode([new("user", words)]).Count;
        // Another answer has the turn.
        var running = server
            .Model.CompleteAsync("Once", new GenerationOptions { MaxTokens = 500, IgnoreEos = true })
            .GetAsyncEnumerator(Cancelled);
        Assert.True(await running.MoveNextAsync());
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions")
        {
            Content = new StringContent(
                $$"""{"messages":[{"role":"user","content":"{{words}}"}],"stream":true}""",
                System.Text.Encoding.UTF8,
                "application/json"
            ),
        };
        using var response = await server.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancelled);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(Cancelled));
        Assert.Equal(": accepted", await reader.ReadLineAsync(Cancelled));
        Assert.Equal("", await reader.ReadLineAsync(Cancelled));
        Assert.Contains("\"role\":\"assistant\"", await reader.ReadLineAsync(Cancelled), StringComparison.Ordinal);
        await running.DisposeAsync();
        var rest = (await reader.ReadToEndAsync(Cancelled)).Split('\n').Where(l => l.Length > 0).ToList();
        var reading = rest.Where(l => l.StartsWith(": reading", StringComparison.Ordinal)).ToList();
        Assert.Equal(Enumerable.Range(0, (ids + 15) / 16).Select(i => $": reading: {16 * i} of {ids} tokens"), reading);
        Assert.True(rest.IndexOf(reading[^1]) < rest.FindIndex(l => l.Contains("\"content\"", StringComparison.Ordinal)));
        Assert.Equal("data: [DONE]", rest[^1]);
    }

    [Fact]
    public async Task Embeddings_are_those_of_the_model_in_both_forms()
    {
        await using var server = await RunningServer.Start();
        var expected = await server.Model.EmbedTokensAsync(server.Model.Tokenizer.Encode("The dog", addSpecial: true), Cancelled);
        var ids = string.Join(',', server.Model.Tokenizer.Encode("The dog", addSpecial: true));
        var (_, body) = await server.Post("/v1/embeddings", "{\"input\":[\"Once\",\"The dog\"],\"model\":\"any\"}");
        Assert.Equal(expected, body.GetProperty("data")[1].GetProperty("embedding").EnumerateArray().Select(x => x.GetSingle()));
        var (_, packed) = await server.Post("/v1/embeddings", $$"""{"input":[{{ids}}],"encoding_format":"base64"}""");
        var bytes = Convert.FromBase64String(packed.GetProperty("data")[0].GetProperty("embedding").GetString()!);
        Assert.Equal(expected, Enumerable.Range(0, bytes.Length / 4).Select(i => BitConverter.ToSingle(bytes, 4 * i)));
        Assert.Equal(400, (await server.Post("/v1/embeddings", "{\"input\":\"a\",\"dimensions\":5}")).Status);
        Assert.Equal(400, (await server.Post("/v1/embeddings", "{\"input\":[]}")).Status);
        Assert.Equal(
            400,
            (await server.Post("/v1/embeddings", $$"""{"input":"{{string.Concat(Enumerable.Repeat("dog ", 600))}}"}""")).Status
        );
    }

    [Fact]
    public async Task Tokens_of_text_and_conversation_and_back()
    {
        await using var server = await RunningServer.Start();
        var ids = server.Model.Tokenizer.Encode("The dog", addSpecial: true);
        var (_, body) = await server.Post("/tokenize", "{\"prompt\":\"The dog\",\"return_token_strs\":true}");
        Assert.Equal(ids, body.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32()));
        Assert.Equal(
            (ids.Count, 512, ids.Count),
            (
                body.GetProperty("count").GetInt32(),
                body.GetProperty("max_model_len").GetInt32(),
                body.GetProperty("token_strs").GetArrayLength()
            )
        );
        Assert.Equal("<s> The dog", string.Concat(body.GetProperty("token_strs").EnumerateArray().Select(t => t.GetString())));
        (_, body) = await server.Post("/tokenize", "{\"prompt\":\"The dog\",\"add_special_tokens\":false}");
        Assert.Equal(server.Model.Tokenizer.Encode("The dog"), body.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32()));
        (_, body) = await server.Post("/tokenize", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
        Assert.Equal(server.Model.Encode([new("user", "Hi")]), body.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32()));
        (_, body) = await server.Post("/detokenize", $$"""{"tokens":[{{string.Join(',', ids)}}]}""");
        Assert.Equal(server.Model.Tokenizer.Decode([.. ids], skipSpecial: false), body.GetProperty("prompt").GetString());
        Assert.Equal(400, (await server.Post("/detokenize", "{\"tokens\":[99999]}")).Status);
        Assert.Equal(400, (await server.Post("/tokenize", "{}")).Status);
        Assert.False(
            string.IsNullOrEmpty(
                JsonElement.Parse(await server.Client.GetStringAsync("/version", Cancelled)).GetProperty("version").GetString()
            )
        );
    }

    [Fact]
    public async Task Response_is_the_answer_of_chat_whole_and_streamed()
    {
        await using var server = await RunningServer.Start();
        var chat = (
            await server.Post(
                "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hi\"}]}"
            )
        ).Body;
        var expected = chat.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString();
        string[] forms =
        [
            "\"Hi\"",
            "[{\"role\":\"user\",\"content\":\"Hi\"}]",
            "[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Hi\"}]}]",
        ];
        foreach (var input in forms)
        {
            var (_, body) = await server.Post("/v1/responses", $$"""{"input":{{input}},"instructions":"Be brief.","store":false}""");
            Assert.Equal(expected, body.GetProperty("output")[0].GetProperty("content")[0].GetProperty("text").GetString());
            Assert.Equal(
                ("incomplete", "max_output_tokens"),
                (body.GetProperty("status").GetString(), body.GetProperty("incomplete_details").GetProperty("reason").GetString())
            );
        }
        var (events, _) = await server.Stream("/v1/responses", "{\"input\":\"Hi\",\"instructions\":\"Be brief.\",\"stream\":true}");
        Assert.Equal(Enumerable.Range(0, events.Count), events.Select(e => e.GetProperty("sequence_number").GetInt32()));
        var kinds = events.Select(e => e.GetProperty("type").GetString()!["response.".Length..]).ToList();
        Assert.Equal(
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "incomplete",
            ],
            kinds.Distinct()
        );
        Assert.Equal(
            expected,
            string.Concat(
                events
                    .Where(e => e.GetProperty("type").GetString() == "response.output_text.delta")
                    .Select(e => e.GetProperty("delta").GetString())
            )
        );
        Assert.Equal(400, (await server.Post("/v1/responses", "{\"input\":\"Hi\",\"previous_response_id\":\"x\"}")).Status);
        Assert.Equal(400, (await server.Post("/v1/responses", "{\"input\":\"Hi\",\"store\":true}")).Status);
        Assert.Equal(400, (await server.Post("/v1/responses", "{\"input\":[{\"type\":\"function_call\"}]}")).Status);
    }

    [Fact]
    public async Task Model_is_chosen_by_name_where_there_are_several()
    {
        await using var server = await RunningServer.Start(beside: "second");
        async Task<(int, string?)> Ask(string model)
        {
            var (status, body) = await server.Post("/v1/completions", $$"""{"prompt":"Once","max_tokens":2{{model}}}""");
            return (
                status,
                status == 200 ? body.GetProperty("model").GetString() : body.GetProperty("error").GetProperty("code").GetString()
            );
        }
        Assert.Equal((200, "stories260K-hf"), await Ask(""));
        Assert.Equal((200, "stories260K-hf"), await Ask(",\"model\":\"stories260K-hf\""));
        Assert.Equal((200, "second"), await Ask(",\"model\":\"second\""));
        Assert.Equal((404, "model_not_found"), await Ask(",\"model\":\"third\""));
        var list = JsonElement.Parse(await server.Client.GetStringAsync("/v1/models", Cancelled)).GetProperty("data");
        Assert.Equal(["stories260K-hf", "second"], list.EnumerateArray().Select(m => m.GetProperty("id").GetString()));
    }

    [Fact]
    public async Task Metrics_have_the_time_to_the_first_token_and_a_service_name()
    {
        await using var server = await RunningServer.Start();
        await server.Ask("Hi", ",\"max_tokens\":3");
        // Those of other servers in this process are counted too.
        var metrics = await server.Client.GetStringAsync("/metrics", Cancelled);
        Assert.Contains("service_name=\"longlora\"", metrics, StringComparison.Ordinal);
        Assert.Matches(@"(?m)^longlora_answer_first_token_seconds_count\S* [1-9]", metrics);
        Assert.Matches(@"(?m)^longlora_tokens_generated\S* [1-9]", metrics);
        Assert.Matches(@"(?m)^longlora_requests_running\S* [01]\b", metrics);
        Assert.Matches(@"(?m)^longlora_requests_waiting\S* \d", metrics);
    }

    [Fact]
    public async Task Description_has_every_endpoint_and_every_field()
    {
        await using var server = await RunningServer.Start();
        var paths = OpenApi.Read()["paths"]!.AsObject();
        var mapped = server
            .Endpoints.OfType<RouteEndpoint>()
            .Select(e => "/" + e.RoutePattern.RawText!.Trim('/').Replace("**", "", StringComparison.Ordinal))
            .Where(p => !Page.Has(p));
        Assert.Equal(mapped.Order(StringComparer.Ordinal), paths.Select(p => p.Key).Order(StringComparer.Ordinal));

        var models = new ServedModels();
        models.Set([server.Model]);
        var options = new ServerOptions();
        const string Messages = "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"logprobs\":true}";
        Check("/v1/chat/completions", Messages, f => ChatCompletions.Read(f, models, options));
        Check("/v1/completions", "{\"prompt\":\"x\"}", f => Completions.Read(f, models, options));
        Check("/v1/responses", "{\"input\":\"x\"}", f => Responses.Read(f, models, options));
        Check("/v1/embeddings", "{\"input\":\"x\"}", f => Embeddings.Read(f, models));
        Check("/detokenize", "{\"tokens\":[5]}", f => Tokens.Detokenize(f, models));
        Check("/tokens", Messages.Replace(",\"logprobs\":true", "", StringComparison.Ordinal), f => Tokens.Count(f, models));

        void Check(string path, string json, Action<RequestFields> read)
        {
            var fields = new RequestFields(JsonElement.Parse(json));
            read(fields);
            var described = paths[path]!["post"]!["requestBody"]!["content"]!["application/json"]!["schema"]!["properties"]!.AsObject();
            Assert.Equal(fields.Known, described.Select(p => p.Key).Order(StringComparer.Ordinal));
        }
    }
}
