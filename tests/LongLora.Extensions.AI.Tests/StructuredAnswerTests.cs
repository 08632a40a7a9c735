using System.ComponentModel;
using System.Text.Json;
using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.Extensions.AI;

namespace LongLora.Extensions.AI.Tests;

/// <summary>Tools and schemas through the extensions of Microsoft.Extensions.AI, with a model that has learnt neither.</summary>
public sealed class StructuredAnswerTests
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private enum Color
    {
        Red,
        Green,
    }

    private sealed record Dog(Color Coat, int Age, bool IsGood, Color[] Toys);

    [Description("Feeds")]
    private static string Feed(Color bowl, bool isFull) => $"{bowl} {isFull}";

    [Fact]
    public async Task GetResponse_of_a_type_gives_an_object_of_it()
    {
        using var client = Stories.Open();
        var answer = await client.GetResponseAsync<Dog>("A dog.", new ChatOptions { MaxOutputTokens = 200 }, cancellationToken: Cancelled);
        Assert.True(answer.TryGetResult(out var dog), answer.Text);
        Assert.True(Enum.IsDefined(dog.Coat));
        Assert.Equal(ChatFinishReason.Stop, answer.FinishReason);
    }

    [Fact]
    public async Task A_response_format_binds_the_answer_also_streamed()
    {
        using var client = Stories.Open();
        var schema = JsonDocument.Parse(
            """{"type":"object","properties":{"name":{"type":"string","maxLength":8},"n":{"type":"integer","minimum":7,"maximum":9}},"required":["name","n"]}"""
        );
        var options = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(schema.RootElement), MaxOutputTokens = 100 };
        var text = (await client.GetStreamingResponseAsync("Tell me.", options, Cancelled).ToChatResponseAsync(Cancelled)).Text;
        var json = JsonDocument.Parse(text).RootElement;
        Assert.InRange(json.GetProperty("n").GetInt32(), 7, 9);
        Assert.Equal(text, (await client.GetResponseAsync("Tell me.", options, Cancelled)).Text);

        options = new ChatOptions { ResponseFormat = ChatResponseFormat.Json, MaxOutputTokens = 60 };
        Assert.StartsWith("{", (await client.GetResponseAsync("Tell me.", options, Cancelled)).Text.TrimStart(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_function_is_invoked_and_its_result_goes_back_to_the_model(bool isStream)
    {
        var fed = new List<string>();
        using var client = new FunctionInvokingChatClient(Stories.Open());
        var options = new ChatOptions
        {
            Tools = [AIFunctionFactory.Create((Color bowl, bool isFull) => Remember(Feed(bowl, isFull)), "feed")],
            ToolMode = ChatToolMode.RequireSpecific("feed"),
            MaxOutputTokens = 60,
            Temperature = 0,
        };
        var answer = isStream
            ? await client.GetStreamingResponseAsync("Feed the dog.", options, Cancelled).ToChatResponseAsync(Cancelled)
            : await client.GetResponseAsync("Feed the dog.", options, Cancelled);
        Assert.Matches("^(Red|Green) (True|False)$", Assert.Single(fed));
        var contents = answer.Messages.SelectMany(m => m.Contents).ToList();
        var call = Assert.Single(contents.OfType<FunctionCallContent>());
        var result = Assert.Single(contents.OfType<FunctionResultContent>());
        Assert.Equal((call.CallId, fed[0]), (result.CallId, result.Result!.ToString()));
        Assert.Equal(ChatRole.Assistant, answer.Messages[^1].Role);
        Assert.NotEmpty(answer.Text);

        string Remember(string what)
        {
            fed.Add(what);
            return what;
        }
    }

    [Fact]
    public async Task A_required_tool_ends_the_answer_with_its_call()
    {
        using var client = Stories.Open();
        var options = new ChatOptions
        {
            Tools = [AIFunctionFactory.Create(Feed, "feed"), AIFunctionFactory.Create(() => 1, "wait")],
            ToolMode = ChatToolMode.RequireAny,
            AllowMultipleToolCalls = false,
            MaxOutputTokens = 100,
        };
        var answer = await client.GetResponseAsync("Feed the dog.", options, Cancelled);
        Assert.Equal(ChatFinishReason.ToolCalls, answer.FinishReason);
        var call = Assert.IsType<FunctionCallContent>(Assert.Single(Assert.Single(answer.Messages).Contents));
        Assert.Contains(call.Name, (string[])["feed", "wait"]);
        Assert.NotNull(call.Arguments);
    }

    [Fact]
    public async Task What_cannot_be_followed_is_said()
    {
        using var client = Stories.Open();
        var schema = JsonDocument.Parse("""{"not":{}}""").RootElement;
        var format = new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(schema) };
        var told = await Assert.ThrowsAsync<ConfigurationException>(() => client.GetResponseAsync("x", format, Cancelled));
        Assert.Contains("'not'", told.Message, StringComparison.Ordinal);
        var search = new ChatOptions { Tools = [new HostedWebSearchTool()] };
        await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync("x", search, Cancelled));
        var none = new ChatOptions { ToolMode = ChatToolMode.RequireAny };
        await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync("x", none, Cancelled));
    }

    [Fact]
    public async Task A_format_of_the_options_is_that_of_the_library()
    {
        using var client = Stories.Open();
        var schema = JsonDocument.Parse("""{"enum":["yes","no"]}""").RootElement;
        var options = new ChatOptions
        {
            RawRepresentationFactory = _ => new GenerationOptions { Format = AnswerFormat.FromSchema(schema) },
        };
        Assert.Contains((await client.GetResponseAsync("Well?", options, Cancelled)).Text.Trim(), (string[])["\"yes\"", "\"no\""]);
    }
}
