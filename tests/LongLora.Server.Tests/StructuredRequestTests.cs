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

        static JsonElement Call(JsonElement choice) => choice.GetProperty("message").GetProperty("tool_calls")[0];
    }

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
