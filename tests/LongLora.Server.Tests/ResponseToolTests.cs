using System.Text.Json;

namespace LongLora.Server.Tests;

/// <summary>Tools in <c>/v1/responses</c>, whole and streamed.</summary>
public sealed class ResponseToolTests
{
    private const string Parameters = """{"type":"object","properties":{"bowl":{"enum":["red","green"]}},"required":["bowl"]}""",
        Tools = $$""","tools":[{"type":"function","name":"feed","description":"Feeds.","strict":true,"parameters":{{Parameters}}}]""",
        Asked = "\"input\":\"Feed the dog.\",\"max_output_tokens\":60,\"parallel_tool_calls\":false";

    [Theory]
    [InlineData("\"required\"")]
    [InlineData("{\"type\":\"function\",\"name\":\"feed\"}")]
    public async Task A_call_is_an_item_of_the_answer(string choice)
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Post("/v1/responses", $$"""{{{Asked}}{{Tools}},"tool_choice":{{choice}}}""");
        Assert.True(status == 200, body.GetRawText());
        Assert.Equal("completed", body.GetProperty("status").GetString());
        var call = Assert.Single(body.GetProperty("output").EnumerateArray());
        Assert.Equal(("function_call", "feed"), (call.GetProperty("type").GetString(), call.GetProperty("name").GetString()));
        Assert.Matches("red|green", JsonElement.Parse(call.GetProperty("arguments").GetString()!).GetProperty("bowl").GetString());
        Assert.NotEqual(call.GetProperty("id").GetString(), call.GetProperty("call_id").GetString());
        Assert.Equal("feed", body.GetProperty("tools")[0].GetProperty("name").GetString());
        Assert.Equal(JsonElement.Parse(choice).GetRawText(), body.GetProperty("tool_choice").GetRawText());
    }

    [Fact]
    public async Task A_streamed_call_has_the_events_of_the_api()
    {
        await using var server = await RunningServer.Start();
        var (events, _) = await server.Stream("/v1/responses", $$"""{{{Asked}}{{Tools}},"tool_choice":"required","stream":true}""");
        Assert.Equal(
            [
                "created",
                "in_progress",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "completed",
            ],
            events.Select(e => e.GetProperty("type").GetString()!["response.".Length..])
        );
        Assert.Equal(Enumerable.Range(0, events.Count), events.Select(e => e.GetProperty("sequence_number").GetInt32()));
        var done = events[^2].GetProperty("item");
        Assert.Equal(events[4].GetProperty("arguments").GetString(), done.GetProperty("arguments").GetString());
        Assert.Equal(events[3].GetProperty("delta").GetString(), done.GetProperty("arguments").GetString());
        Assert.Equal("", events[2].GetProperty("item").GetProperty("arguments").GetString());
        Assert.All(events.Skip(3).Take(2), e => Assert.Equal(done.GetProperty("id").GetString(), e.GetProperty("item_id").GetString()));
        Assert.Equal(done.GetRawText(), events[^1].GetProperty("response").GetProperty("output")[0].GetRawText());
    }

    // The same conversation in both forms gives the same tokens.
    [Fact]
    public async Task Calls_and_their_results_are_read_as_those_of_chat()
    {
        await using var server = await RunningServer.Start();
        const string chatTools =
            $$$""","tools":[{"type":"function","function":{"name":"feed","description":"Feeds.","parameters":{{{Parameters}}},"strict":true}}]""";
        var (_, chat) = await server.Post(
            "/v1/chat/completions",
            """{"max_tokens":8,"messages":[{"role":"user","content":"Feed the dog."},{"role":"assistant","content":"Yes.","tool_calls":["""
                + """{"id":"c1","type":"function","function":{"name":"feed","arguments":"{\"bowl\":\"red\"}"}},"""
                + """{"id":"c2","type":"function","function":{"name":"feed","arguments":"{\"bowl\":\"green\"}"}}]},"""
                + """{"role":"tool","tool_call_id":"c1","content":"ok"},{"role":"tool","tool_call_id":"c2","content":"no"}]"""
                + $$"""{{chatTools}},"tool_choice":"none"}"""
        );
        var (status, body) = await server.Post(
            "/v1/responses",
            """{"max_output_tokens":8,"input":[{"role":"user","content":"Feed the dog."},{"role":"assistant","content":"Yes."},"""
                + """{"type":"function_call","id":"fc_1","call_id":"c1","name":"feed","arguments":"{\"bowl\":\"red\"}","status":"completed"},"""
                + """{"type":"function_call","call_id":"c2","name":"feed","arguments":"{\"bowl\":\"green\"}"},"""
                + """{"type":"function_call_output","call_id":"c1","output":"ok"},"""
                + """{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"no"}]}]"""
                + $$"""{{Tools}},"tool_choice":"none"}"""
        );
        Assert.True(status == 200, body.GetRawText());
        Assert.Equal(
            chat.GetProperty("usage").GetProperty("prompt_tokens").GetInt32(),
            body.GetProperty("usage").GetProperty("input_tokens").GetInt32()
        );
        Assert.Equal(
            chat.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString(),
            body.GetProperty("output")[0].GetProperty("content")[0].GetProperty("text").GetString()
        );
    }

    [Fact]
    public async Task Text_beside_tools_is_a_message_and_streams_the_same()
    {
        await using var server = await RunningServer.Start();
        var request = $$"""{"input":"Once upon a time","max_output_tokens":8{{Tools}}""";
        var (_, body) = await server.Post("/v1/responses", request + "}");
        var text = body.GetProperty("output")[0].GetProperty("content")[0].GetProperty("text").GetString();
        var (events, _) = await server.Stream("/v1/responses", request + ",\"stream\":true}");
        Assert.Equal(
            text,
            string.Concat(
                events
                    .Where(e => e.GetProperty("type").GetString() == "response.output_text.delta")
                    .Select(e => e.GetProperty("delta").GetString())
            )
        );
        var item = events[^1].GetProperty("response").GetProperty("output")[0];
        Assert.Equal(text, item.GetProperty("content")[0].GetProperty("text").GetString());
    }

    [Theory]
    [InlineData(""","tools":[{"type":"web_search"}]""", "tools[0].type", "web_search")]
    [InlineData(""","tools":[{"type":"function"}]""", "tools[0].name", "missing")]
    [InlineData(""","tools":[{"type":"function","function":{"name":"f"}}]""", "tools[0].name", "missing")]
    [InlineData(Tools + ""","tool_choice":{"type":"function","name":"walk"}""", "tool_choice", "'walk'")]
    [InlineData(Tools + ""","tool_choice":{"type":"function","function":{"name":"feed"}}""", "tool_choice", "\"name\"")]
    [InlineData(""","response_format":{"type":"json_object"}""", "response_format", "text.format")]
    [InlineData(""","max_tool_calls":2""", "max_tool_calls", "does not know it")]
    public async Task A_wrong_wish_is_refused_by_its_name(string more, string parameter, string why)
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Post("/v1/responses", $$"""{"input":"x"{{more}}}""");
        var error = body.GetProperty("error");
        Assert.Equal((400, parameter), (status, error.GetProperty("param").GetString()));
        Assert.Contains(why, error.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"type":"function_call"}""", "input[0].call_id")]
    [InlineData("""{"type":"function_call","call_id":"c","name":"f","arguments":"{"}""", "input[0].arguments")]
    [InlineData("""{"type":"function_call_output","call_id":"c"}""", "input[0].output")]
    [InlineData("""{"type":"reasoning","summary":[]}""", "input[0].type")]
    public async Task A_wrong_item_is_refused_by_its_place(string item, string parameter)
    {
        await using var server = await RunningServer.Start();
        var (status, body) = await server.Post("/v1/responses", $$"""{"input":[{{item}}]}""");
        Assert.Equal((400, parameter), (status, body.GetProperty("error").GetProperty("param").GetString()));
    }
}
