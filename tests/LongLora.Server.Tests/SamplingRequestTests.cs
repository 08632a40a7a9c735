using System.Text;
using System.Text.Json;
using LongLora.Generation;

namespace LongLora.Server.Tests;

/// <summary>Fields that change the answer.</summary>
public class SamplingRequestTests
{
    private static string Text(JsonElement body, int choice = 0) =>
        body.GetProperty("choices")[choice].TryGetProperty("text", out var text)
            ? text.GetString()!
            : body.GetProperty("choices")[choice].GetProperty("message").GetProperty("content").GetString()!;

    [Fact]
    public async Task Answer_without_a_seed_is_another_each_time_and_reports_the_seed_that_repeats_it()
    {
        await using var server = await RunningServer.Start();
        var texts = new HashSet<string>();
        for (var i = 0; i < 3; i++)
        {
            var (_, body) = await server.Ask("Tell me of a dog.", ",\"temperature\":1");
            var seed = body.GetProperty("seed").GetInt64();
            Assert.InRange(seed, 0, 1L << 53);
            Assert.Equal(Text(body), Text((await server.Ask("Tell me of a dog.", $",\"temperature\":1,\"seed\":{seed}")).Body));
            texts.Add(Text(body));
        }
        Assert.Equal(3, texts.Count);
        string[] seeds = ["9223372036854775807", "-9223372036854775808", "12345678901"];
        foreach (var seed in seeds)
            texts.Add(Text((await server.Ask("Tell me of a dog.", $",\"temperature\":1,\"seed\":{seed}")).Body));
        Assert.Equal(6, texts.Count);
    }

    [Fact]
    public async Task N_answers_are_those_of_the_seeds_that_follow_whole_and_streamed()
    {
        await using var server = await RunningServer.Start();
        var (_, body) = await server.Ask("Hi", ",\"temperature\":1,\"seed\":9,\"n\":3,\"max_tokens\":9");
        Assert.Equal(3, body.GetProperty("choices").GetArrayLength());
        var streamed = await server.Stream(
            "/v1/chat/completions",
            "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"temperature\":1,\"seed\":9,\"n\":3,\"max_tokens\":9,\"stream\":true}"
        );
        for (var i = 0; i < 3; i++)
        {
            var alone = (await server.Ask("Hi", $",\"temperature\":1,\"seed\":{9 + i},\"max_tokens\":9")).Body;
            Assert.Equal(Text(alone), Text(body, i));
            var pieces = streamed
                .Events.Select(e => e.GetProperty("choices")[0])
                .Where(c => c.GetProperty("index").GetInt32() == i)
                .ToList();
            Assert.Equal("assistant", pieces[0].GetProperty("delta").GetProperty("role").GetString());
            Assert.Equal(
                Text(alone),
                string.Concat(pieces.Select(c => c.GetProperty("delta").TryGetProperty("content", out var t) ? t.GetString() : ""))
            );
            Assert.Equal("length", pieces[^1].GetProperty("finish_reason").GetString());
        }
        Assert.Equal(27, body.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
    }

    [Fact]
    public async Task Several_prompts_are_continued_each_and_echoed()
    {
        await using var server = await RunningServer.Start();
        const string Both = "\"prompt\":[\"Once upon\",\"The dog\"],\"max_tokens\":6";
        var (_, body) = await server.Post("/v1/completions", $$"""{{{Both}},"echo":true,"n":2,"seed":4,"temperature":1}""");
        Assert.Equal(4, body.GetProperty("choices").GetArrayLength());
        string[] prompts = ["Once upon", "The dog"];
        for (var i = 0; i < 4; i++)
        {
            var (_, alone) = await server.Post(
                "/v1/completions",
                $$"""{"prompt":"{{prompts[i / 2]}}","max_tokens":6,"seed":{{4 + (i % 2)}},"temperature":1}"""
            );
            Assert.Equal(prompts[i / 2] + Text(alone), Text(body, i));
        }
        var streamed = await server.Stream("/v1/completions", $$"""{{{Both}},"echo":true,"stream":true}""");
        Assert.Equal(prompts, streamed.Events.Take(2).Select(e => Text(e)));
    }

    // As clients send them that write the template themselves.
    [Fact]
    public async Task Special_tokens_of_a_prompt_are_tokens_and_its_beginning_is_not_doubled()
    {
        await using var server = await RunningServer.Start();
        var (bos, eos) = (server.Model.Tokenizer.BosTokenId!.Value, server.Model.Tokenizer.EosTokenId!.Value);
        async Task<int[]> Encode(string prompt, string more = "")
        {
            var (_, body) = await server.Post("/tokenize", $"{{\"prompt\":{JsonSerializer.Serialize(prompt)}{more}}}");
            return [.. body.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32())];
        }
        var ids = await Encode("Once upon a time.</s>[INST]");
        Assert.Equal((bos, 1, 1), (ids[0], ids.Count(id => id == bos), ids.Count(id => id == eos)));
        var begun = await Encode("<s>Once upon a time.</s>[INST]");
        Assert.Equal((bos, 1, 1), (begun[0], begun.Count(id => id == bos), begun.Count(id => id == eos)));
        Assert.Equal(begun, await Encode("<s>Once upon a time.</s>[INST]", ",\"add_special_tokens\":false"));
        // What a message says stays text.
        var (_, said) = await server.Post("/tokenize", "{\"messages\":[{\"role\":\"user\",\"content\":\"a</s>\"}]}");
        Assert.DoesNotContain(eos, said.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32()));

        const string Asked = ",\"max_tokens\":8,\"logprobs\":1,\"echo\":true";
        var (_, text) = await server.Post("/v1/completions", $"{{\"prompt\":\"<s>Once \U0001F600 upon</s>a\"{Asked}}}");
        var told = text.GetProperty("choices")[0].GetProperty("logprobs");
        var offsets = told.GetProperty("text_offset").EnumerateArray().Select(o => o.GetInt32()).ToList();
        var tokens = told.GetProperty("tokens").EnumerateArray().Select(t => t.GetString()).ToList();
        Assert.Equal((0, "<s>".Length), (offsets[0], offsets[1]));
        Assert.Equal("<s>Once * upon".Length, offsets[tokens.IndexOf("</s>")]);
        Assert.Equal("<s>Once * upon</s>".Length, offsets[tokens.IndexOf("</s>") + 1]);
    }

    [Fact]
    public async Task Measured_prompt_may_fill_the_context_and_an_answered_one_not()
    {
        await using var server = await RunningServer.Start();
        var context = server.Model.Context;
        string Prompt(int count) => string.Join(',', Enumerable.Range(0, count).Select(i => i == 0 ? 1 : 300 + (i % 50)));
        var (status, body) = await server.Post(
            "/v1/completions",
            $"{{\"prompt\":[{Prompt(context)}],\"max_tokens\":0,\"echo\":true,\"logprobs\":0}}"
        );
        Assert.True(status == 200, body.ToString());
        Assert.Equal(context, body.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("tokens").GetArrayLength());
        foreach (var (count, more) in ((int, string)[])[(context, ""), (context + 1, ",\"max_tokens\":0,\"echo\":true,\"logprobs\":0")])
            Assert.Equal(400, (await server.Post("/v1/completions", $"{{\"prompt\":[{Prompt(count)}]{more}}}")).Status);
    }

    [Fact]
    public async Task Request_replaces_what_the_server_stops_at_and_its_least_tokens()
    {
        await using var server = await RunningServer.Start(o =>
            o with
            {
                Defaults = o.Defaults with { Stop = ["a"], MinTokens = 6, IgnoreEos = true },
            }
        );
        async Task<JsonElement> Ask(string more) =>
            (await server.Post("/v1/completions", $"{{\"prompt\":\"Once upon\"{more}}}")).Body.GetProperty("choices")[0];
        Assert.Equal("stop", (await Ask("")).GetProperty("finish_reason").GetString());
        foreach (var none in (string[])["[]", "\"\"", "\"never said\""])
            Assert.Equal("length", (await Ask($",\"stop\":{none}")).GetProperty("finish_reason").GetString());
        Assert.Equal("length", (await Ask(",\"max_tokens\":2")).GetProperty("finish_reason").GetString());
        var (status, body) = await server.Post("/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":2,\"min_tokens\":3}");
        Assert.Equal((400, "min_tokens"), (status, body.GetProperty("error").GetProperty("param").GetString()));
        Assert.Throws<Runtime.ConfigurationException>(() =>
            new ServerOptions
            {
                MaxTokens = 5,
                Defaults = new() { MinTokens = 6, MaxTokens = 20 },
            }.Validate()
        );
    }

    // Each token of the prompt is as likely as where the model would have to choose it after the tokens before it.
    [Fact]
    public async Task Echo_with_log_probabilities_measures_the_prompt()
    {
        await using var server = await RunningServer.Start();
        int[] ids = [.. server.Model.Tokenizer.Encode("Once upon a time there was a dog", addSpecial: true)];
        // Held in the cache before, and read anew.
        const string Request = "\"prompt\":\"Once upon a time there was a dog\",\"echo\":true,\"logprobs\":2";
        await server.Post("/v1/completions", $$"""{{{Request}},"max_tokens":3}""");
        var (_, body) = await server.Post("/v1/completions", $$"""{{{Request}},"max_tokens":3}""");
        var told = body.GetProperty("choices")[0].GetProperty("logprobs");
        var values = told.GetProperty("token_logprobs").EnumerateArray().ToList();
        Assert.Equal(ids.Length + 3, values.Count);
        Assert.Equal(ids.Length + 3, told.GetProperty("tokens").GetArrayLength());
        Assert.Equal((JsonValueKind.Null, JsonValueKind.Null), (values[0].ValueKind, told.GetProperty("top_logprobs")[0].ValueKind));
        for (var place = 1; place < ids.Length; place++)
        {
            var before = string.Join(',', ids.Take(place));
            var (_, next) = await server.Post("/v1/completions", $$"""{"prompt":[{{before}}],"max_tokens":1,"logprobs":20}""");
            var likeliest = next.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("top_logprobs")[0];
            Assert.Equal(2, told.GetProperty("top_logprobs")[place].EnumerateObject().Count());
            if (likeliest.TryGetProperty(told.GetProperty("tokens")[place].GetString()!, out var expected))
                Assert.Equal(expected.GetDouble(), values[place].GetDouble(), 1e-3);
            else
                Assert.True(values[place].GetDouble() < likeliest.EnumerateObject().Min(t => t.Value.GetDouble()) + 1e-3);
        }
        var text = Text(body);
        Assert.StartsWith("Once upon a time there was a dog", text, StringComparison.Ordinal);
        Assert.Equal("Once upon a time there was a dog".Length, told.GetProperty("text_offset")[ids.Length].GetInt32());

        var (events, _) = await server.Stream("/v1/completions", $$"""{{{Request}},"max_tokens":3,"stream":true}""");
        Assert.Equal(text, string.Concat(events.Select(e => Text(e))));
        var streamed = events
            .Select(e => e.GetProperty("choices")[0].GetProperty("logprobs"))
            .Where(l => l.ValueKind == JsonValueKind.Object)
            .SelectMany(l => l.GetProperty("token_logprobs").EnumerateArray().Select(v => v.GetRawText()));
        Assert.Equal(values.Select(v => v.GetRawText()), streamed);

        foreach (var asked in (string[])["", ",\"stream\":true"])
        {
            // Evaluations of choices want nothing after the prompt.
            const string Alone = $$"""{{{Request}},"max_tokens":0""";
            var last =
                asked.Length == 0
                    ? (await server.Post("/v1/completions", Alone + "}")).Body
                    : (await server.Stream("/v1/completions", Alone + asked + "}")).Events[0];
            Assert.Equal("Once upon a time there was a dog", Text(last));
            Assert.Equal(ids.Length, last.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("tokens").GetArrayLength());
            if (asked.Length == 0)
                Assert.Equal(0, last.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        }
        Assert.Equal(400, (await server.Post("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":0}")).Status);
    }

    [Fact]
    public async Task Ends_biases_and_penalties_are_those_of_the_model()
    {
        await using var server = await RunningServer.Start();
        var free = await server.Model.CompleteAsync("Once upon a time", new GenerationOptions { MaxTokens = 20 }).WholeAsync();
        async Task<JsonElement> Complete(string more, int tokens = 20) =>
            (await server.Post("/v1/completions", $$"""{"prompt":"Once upon a time","max_tokens":{{tokens}},{{more}}}""")).Body;
        var stop = free.Tokens[7];
        var early = await Complete($"\"stop_token_ids\":[{stop}]");
        Assert.Equal("stop", early.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        var count = early.GetProperty("usage").GetProperty("completion_tokens").GetInt32();
        Assert.InRange(count, 1, 8);
        var late = await Complete($"\"stop_token_ids\":[{stop}],\"min_tokens\":12");
        Assert.InRange(late.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), 12, 20);
        var biased = await server
            .Model.CompleteAsync(
                "Once upon a time",
                new GenerationOptions
                {
                    MaxTokens = 20,
                    LogitBias = new Dictionary<int, double> { [stop] = -100 },
                }
            )
            .WholeAsync();
        Assert.Equal(biased.Text, Text(await Complete($"\"logit_bias\":{{\"{stop}\":-100}}")));
        var penalized = await server
            .Model.CompleteAsync(
                "Once upon a time",
                new GenerationOptions
                {
                    MaxTokens = 80,
                    FrequencyPenalty = 2,
                    PresencePenalty = 2,
                }
            )
            .WholeAsync();
        Assert.Equal(penalized.Text, Text(await Complete("\"frequency_penalty\":2,\"presence_penalty\":2", 80)));
        var longer = await server.Model.CompleteAsync("Once upon a time", new GenerationOptions { MaxTokens = 80 }).WholeAsync();
        Assert.NotEqual(longer.Text, penalized.Text);
        Assert.All([Text(early), biased.Text], text => Assert.NotEqual(free.Text, text));
        Assert.Equal(free.Text, Text(await Complete("\"temperature\":2,\"top_p\":0")));
        Assert.Equal(free.Text, Text(await Complete("\"top_k\":-1,\"ignore_eos\":false")));
        // What the context leaves.
        var (_, whole) = await server.Post("/v1/completions", "{\"prompt\":\"Once\",\"max_tokens\":-1,\"ignore_eos\":true}");
        Assert.Equal(512, whole.GetProperty("usage").GetProperty("total_tokens").GetInt32());
    }

    [Fact]
    public async Task Last_message_is_continued()
    {
        await using var server = await RunningServer.Start();
        const string Messages =
            "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Once upon a\"}]";
        var (status, body) = await server.Post(
            "/v1/chat/completions",
            Messages + ",\"continue_final_message\":true,\"add_generation_prompt\":false}"
        );
        Assert.Equal(200, status);
        var prompt = server.Model.Tokenizer.Encode("[INST] Hi [/INST] Once upon a", addSpecial: true);
        var expected = await server.Model.AnswerTokensAsync(prompt, new GenerationOptions { MaxTokens = 24 }).WholeAsync();
        Assert.Equal(expected.Text, Text(body));
    }

    [Fact]
    public async Task Fields_that_make_no_difference_are_accepted()
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Ask(
            "Hi",
            """
            ,"user":"me","metadata":{"a":"b"},"store":false,"stream":false,"stream_options":null,"service_tier":"auto","n":1,"logit_bias":{},
            "tools":[],"tool_choice":"auto","response_format":{"type":"text"},"parallel_tool_calls":true,"modalities":["text"],"stop":null,
            "logprobs":false,"top_logprobs":0,"audio":null,"frequency_penalty":0,"presence_penalty":0,"functions":null,"unheard_of":null
            """
        );
        Assert.True(status == 200, body.ToString());
        Assert.Equal(Text((await server.Ask("Hi")).Body), Text(body));
    }

    // Joined, the tokens are the text: with the space before each word, which decoding a token alone leaves out.
    [Fact]
    public async Task Tokens_are_told_with_the_space_before_them()
    {
        await using var server = await RunningServer.Start();
        foreach (var echo in (string[])["", ",\"echo\":true"])
        {
            var request = "{\"prompt\":\"Once upon a time\",\"max_tokens\":12,\"logprobs\":20" + echo;
            var (_, body) = await server.Post("/v1/completions", request + "}");
            var (events, _) = await server.Stream("/v1/completions", request + ",\"stream\":true}");
            var told = body.GetProperty("choices")[0].GetProperty("logprobs");
            string[] tokens = [.. told.GetProperty("tokens").EnumerateArray().Select(t => t.GetString()!)];
            Assert.Equal(Text(body), string.Concat(tokens)[(echo.Length > 0 ? "<s> " : "").Length..]);
            Assert.Equal(
                tokens,
                events
                    .Select(e => e.GetProperty("choices")[0].GetProperty("logprobs"))
                    .Where(l => l.ValueKind == JsonValueKind.Object)
                    .SelectMany(l => l.GetProperty("tokens").EnumerateArray().Select(t => t.GetString()))
            );
            foreach (var (token, offset) in tokens.Zip(told.GetProperty("text_offset").EnumerateArray().Select(o => o.GetInt32())).Skip(2))
                Assert.StartsWith(token, Text(body)[offset..], StringComparison.Ordinal);
            // A word and the same letters inside a word are two.
            Assert.All(told.GetProperty("top_logprobs").EnumerateArray().Where(t => t.ValueKind == JsonValueKind.Object), t =>
                Assert.Equal(20, t.EnumerateObject().Count())
            );
        }
        var (_, chat) = await server.Ask("Hi", ",\"logprobs\":true,\"top_logprobs\":20");
        var content = chat.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content").EnumerateArray().ToList();
        Assert.Equal(Text(chat), string.Concat(content.Select(t => t.GetProperty("token").GetString())));
        byte[] bytes = [.. content.SelectMany(t => t.GetProperty("bytes").EnumerateArray().Select(b => b.GetByte()))];
        Assert.Equal(Text(chat), Encoding.UTF8.GetString(bytes));
        Assert.All(content, t =>
            Assert.Equal(20, t.GetProperty("top_logprobs").EnumerateArray().DistinctBy(l => l.GetProperty("token").GetString()).Count())
        );
    }

    [Fact]
    public async Task Log_probabilities_come_with_their_own_piece()
    {
        await using var server = await RunningServer.Start();
        const string Request = "{\"prompt\":\"Once upon a time\",\"max_tokens\":12,\"logprobs\":1";
        var (_, body) = await server.Post("/v1/completions", Request + "}");
        var streamed = await server.Stream("/v1/completions", Request + ",\"stream\":true}");
        var pieces = streamed.Events.Select(e => e.GetProperty("choices")[0]).ToList();
        IEnumerable<JsonElement> Whole(string name) =>
            body.GetProperty("choices")[0].GetProperty("logprobs").GetProperty(name).EnumerateArray();
        IEnumerable<JsonElement> Streamed(string name) =>
            pieces.SelectMany(c => c.GetProperty("logprobs").GetProperty(name).EnumerateArray());
        Assert.Equal(Whole("tokens").Select(t => t.GetString()), Streamed("tokens").Select(t => t.GetString()));
        Assert.Equal(Whole("text_offset").Select(t => t.GetInt32()), Streamed("text_offset").Select(t => t.GetInt32()));
        // The second time the prompt was in the cache.
        Assert.All(Whole("token_logprobs").Zip(Streamed("token_logprobs")), pair =>
            Assert.Equal(pair.First.GetDouble(), pair.Second.GetDouble(), 1e-4)
        );
        Assert.All(pieces.Where(c => c.GetProperty("text").GetString() != ""), c =>
            Assert.NotEqual(0, c.GetProperty("logprobs").GetProperty("tokens").GetArrayLength())
        );
        Assert.True(pieces.Count > 5);
    }
}
