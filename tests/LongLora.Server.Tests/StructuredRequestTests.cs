using System.Text.Json;

namespace LongLora.Server.Tests;

/// <summary>Requests with tools and formats, right and wrong.</summary>
public sealed class StructuredRequestTests
{
    private const string Tools =
        ""","tools":[{"type":"function","function":{"name":"feed","parameters":{"type":"object","properties":{"bowl":{"enum":["red","green"]}},"required":["bowl"]}}}]""";

    [Theory]
    [InlineData(""","response_format":{"type":"json"}""", "response_format.type", "json_schema")]
    [InlineData(""","response_format":{"type":"json_schema"}""", "response_format.json_schema", "no schema")]
    [InlineData(
        ""","response_format":{"type":"json_schema","json_schema":{"schema":{"properties":{"a":{"not":{}}}}}}""",
        "response_format",
        "#/properties/a"
    )]
    [InlineData(""","response_format":{"type":"text","shcema":{}}""", "response_format.shcema", "does not know it")]
    [InlineData(Tools + ""","tool_choice":"must" """, "tool_choice", "required")]
    [InlineData(Tools + ""","tool_choice":{"type":"function","function":{"name":"walk"}}""", "tool_choice", "'walk'")]
    [InlineData(""","tools":[{"type":"function","function":{"name":"f","parameters":{"uniqueItems":true}}}]""", "tools", "'f'")]
    [InlineData(""","tools":[{"type":7,"function":{"name":"f"}}]""", "tools", "not of type function")]
    [InlineData(""","tools":[{"type":"function","function":{"name":"f","parameters":false}}]""", "tools", "parameters is false")]
    [InlineData(""","tools":[{"type":"function","function":{"name":"f","parameters":[]}}]""", "tools", "parameters is []")]
    [InlineData(""","tools":[{"type":"function","function":{"name":"f","parameters":{"type":[]}}}]""", "tools", "'f'")]
    [InlineData(""","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"integer"}}}]""", "tools", "no object")]
    [InlineData(
        ""","tool_choice":"required","tools":[{"type":"function","function":{"name":"f","parameters":{"enum":[7]}}}]""",
        "tools",
        "no text"
    )]
    [InlineData(""","response_format":{"type":"json_schema","json_schema":{"schema":{"type":[]}}}""", "response_format", "no text")]
    [InlineData(""","response_format":{"type":"json_schema","json_schema":{"schema":{"enum":7}}}""", "response_format", "enum: 7")]
    [InlineData(
        ""","response_format":{"type":"json_schema","json_schema":{"schema":{"allOf":[{"enum":7},{"enum":[8]}]}}}""",
        "response_format",
        "enum: 7"
    )]
    [InlineData(Tools + ""","continue_final_message":true""", "continue_final_message", "whole answers")]
    public async Task A_wrong_wish_is_refused_by_its_name(string more, string parameter, string why)
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Ask("x", more);
        var error = body.GetProperty("error");
        Assert.Equal((400, parameter), (status, error.GetProperty("param").GetString()));
        Assert.Contains(why, error.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"role":"tool","content":"x"}""", "messages[0].tool_call_id")]
    [InlineData(
        """{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}""",
        "messages[0].tool_calls[0].function.arguments"
    )]
    [InlineData("""{"role":"assistant","tool_calls":[{"function":{}}]}""", "messages[0].tool_calls[0].function.name")]
    [InlineData("""{"role":"user","content":"x","tool_calls":[{"function":{"name":"f"}}]}""", "messages[0].tool_calls")]
    public async Task A_wrong_message_is_refused_by_its_place(string message, string parameter)
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Post("/v1/chat/completions", $$"""{"messages":[{{message}}]}""");
        Assert.Equal((400, parameter), (status, body.GetProperty("error").GetProperty("param").GetString()));
    }

    [Theory]
    [InlineData("enum")]
    [InlineData("type")]
    [InlineData("anyOf")]
    [InlineData("allOf")]
    [InlineData("$ref")]
    [InlineData("properties")]
    [InlineData("required")]
    [InlineData("items")]
    [InlineData("pattern")]
    [InlineData("minimum")]
    [InlineData("minLength")]
    [InlineData("format")]
    [InlineData("nullable")]
    [InlineData("title")]
    public async Task Keyword_that_is_null_says_nothing(string keyword)
    {
        await using var server = await RunningServer.Start();
        var schema = $$$"""{"type":"object","properties":{"a":{"const":null,"{{{keyword}}}":null}},"required":["a"]}""";
        var (status, body) = await server.Ask(
            "x",
            $$$""","response_format":{"type":"json_schema","json_schema":{"schema":{{{schema}}}}}"""
        );
        Assert.True(status == 200, body.ToString());
        var content = body.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
        Assert.Equal(JsonValueKind.Null, JsonElement.Parse(content).GetProperty("a").ValueKind);
    }

    // A schema that allows more than objects: arguments are an object all the same.
    [Theory]
    [InlineData("{}")]
    [InlineData("{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"object\",\"properties\":{\"a\":{\"const\":1}}}]}")]
    [InlineData("{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"type\":[\"object\",\"null\"],\"properties\":{\"a\":{\"const\":1}}}}}")]
    public async Task Arguments_are_an_object(string parameters)
    {
        await using var server = await RunningServer.Start();
        for (var seed = 0; seed < 4; seed++)
        {
            var more =
                $$$""","tools":[{"type":"function","function":{"name":"f","parameters":{{{parameters}}}}}],"tool_choice":"required" """;
            var (status, body) = await server.Ask(
                "x",
                more + $",\"parallel_tool_calls\":false,\"max_tokens\":200,\"temperature\":1,\"seed\":{seed}"
            );
            Assert.True(status == 200, body.ToString());
            var arguments = Call(body.GetProperty("choices")[0]).GetProperty("function").GetProperty("arguments").GetString()!;
            Assert.StartsWith("{", arguments, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task What_an_assistant_said_without_content_is_taken()
    {
        await using var server = await RunningServer.Start();
        const string Calls =
            """{"role":"assistant","tool_calls":[{"id":"call_1","type":"function","function":{"name":"feed","arguments":""}}]}""";
        const string Refusal = """{"role":"assistant","content":null,"refusal":"I cannot."}""";
        const string Done = """,{"role":"tool","tool_call_id":"call_1","content":"done"}""";
        const string Next = """,{"role":"user","content":"y"}""";
        foreach (var (said, more) in ((string, string)[])[(Calls, Done), (Refusal, Next)])
        {
            var (status, body) = await server.Post(
                "/v1/chat/completions",
                $$"""{"messages":[{"role":"user","content":"x"},{{said}}{{more}}],"max_tokens":1}"""
            );
            Assert.True(status == 200, body.ToString());
        }
    }

    [Fact]
    public async Task Tokens_of_a_conversation_are_counted_with_its_tools()
    {
        await using var server = await RunningServer.Start();
        const string Talk = "\"messages\":[{\"role\":\"user\",\"content\":\"Feed the dog.\"}]";
        const string Must = Tools + ",\"tool_choice\":\"required\"";
        var (_, asked) = await server.Post("/v1/chat/completions", $"{{{Talk}{Must},\"max_tokens\":1}}");
        var expected = asked.GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
        Assert.Equal(expected, (await server.Post("/tokens", $"{{{Talk}{Must}}}")).Body.GetProperty("tokens").GetInt32());
        Assert.Equal(expected, (await server.Post("/tokenize", $"{{{Talk}{Must}}}")).Body.GetProperty("count").GetInt32());
        var (status, body) = await server.Post("/tokenize", $"{{{Talk},\"prompt\":\"x\"}}");
        Assert.Equal(400, status);
        Assert.Contains("both", body.ToString());
    }

    [Fact]
    public async Task Every_choice_has_a_call_and_its_own_identifier()
    {
        await using var server = await RunningServer.Start();
        const string more =
            Tools + ""","tool_choice":"required","parallel_tool_calls":false,"n":2,"temperature":1,"seed":4,"max_tokens":60""";
        var (status, body) = await server.Ask("Feed the dog.", more);
        Assert.Equal(200, status);
        var choices = body.GetProperty("choices").EnumerateArray().ToList();
        Assert.Equal(2, choices.Count);
        Assert.Equal(2, choices.Select(c => Call(c).GetProperty("id").GetString()).Distinct().Count());
        foreach (var choice in choices)
        {
            Assert.Equal("tool_calls", choice.GetProperty("finish_reason").GetString());
            var function = Call(choice).GetProperty("function");
            Assert.Equal("feed", function.GetProperty("name").GetString());
            Assert.Matches("red|green", JsonElement.Parse(function.GetProperty("arguments").GetString()!).GetProperty("bowl").GetString());
        }
    }

    private static JsonElement Call(JsonElement choice) => choice.GetProperty("message").GetProperty("tool_calls")[0];

    // Whole, streamed, and as a response: half a call is a call with half of its arguments, and no text.
    [Fact]
    public async Task A_call_that_is_cut_off_is_no_text()
    {
        await using var server = await RunningServer.Start();
        var cut = 0;
        foreach (var most in Enumerable.Range(1, 40))
        {
            var more = Tools + $",\"tool_choice\":\"required\",\"seed\":4,\"temperature\":1,\"max_tokens\":{most}";
            var (status, body) = await server.Ask("Feed the dog.", more);
            Assert.Equal(200, status);
            var choice = body.GetProperty("choices")[0];
            var message = choice.GetProperty("message");
            Assert.True(string.IsNullOrEmpty(message.GetProperty("content").GetString()), message.ToString());
            List<(string, string)> calls = message.TryGetProperty("tool_calls", out var told) ? Read(told.EnumerateArray()) : [];
            cut += choice.GetProperty("finish_reason").GetString() == "length" && calls.Count > 0 && !IsWhole(calls[^1].Item2) ? 1 : 0;

            var (events, _) = await server.Stream(
                "/v1/chat/completions",
                "{\"messages\":[{\"role\":\"user\",\"content\":\"Feed the dog.\"}],\"stream\":true" + more + "}"
            );
            var deltas = events.Select(e => e.GetProperty("choices")[0].GetProperty("delta")).ToList();
            Assert.Equal("", string.Concat(deltas.Select(d => d.TryGetProperty("content", out var text) ? text.GetString() : "")));
            Assert.Equal(
                calls,
                Read(deltas.SelectMany(d => d.TryGetProperty("tool_calls", out var some) ? some.EnumerateArray().ToList() : []))
            );
            Assert.Equal(
                choice.GetProperty("finish_reason").GetString(),
                events[^1].GetProperty("choices")[0].GetProperty("finish_reason").GetString()
            );
        }
        Assert.True(cut > 0, "no call was cut off in its arguments");

        static List<(string, string)> Read(IEnumerable<JsonElement> calls) =>
            [
                .. calls
                    .Select(c => c.GetProperty("function"))
                    .Select(f => (f.GetProperty("name").GetString()!, f.GetProperty("arguments").GetString()!)),
            ];
        static bool IsWhole(string json)
        {
            try
            {
                using var parsed = JsonDocument.Parse(json);
                return true;
            }
            catch (JsonException)
            {
                return false;
            }
        }
    }
}
