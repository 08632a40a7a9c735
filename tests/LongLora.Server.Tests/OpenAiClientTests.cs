using System.ClientModel;
using LongLora.Generation;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Models;

namespace LongLora.Server.Tests;

/// <summary>The official client against a running server.</summary>
public class OpenAiClientTests
{
    private static readonly LongLora.Tokenization.ChatMessage[] s_question = [new("user", "Tell me of a dog.")];

    private static OpenAIClient Connect(RunningServer server, string key = "none") =>
        new(new ApiKeyCredential(key), new OpenAIClientOptions { Endpoint = new Uri(server.Address, "/v1") });

    [Fact]
    public async Task Chat_whole_and_streamed_is_what_the_model_answers()
    {
        await using var server = await RunningServer.Start();
        var chat = Connect(server).GetChatClient(server.Model.Name);
        var expected = await server.Model.AnswerAsync(s_question, new GenerationOptions { MaxTokens = 20 }).WholeAsync();
        var options = new ChatCompletionOptions
        {
            MaxOutputTokenCount = 20,
            IncludeLogProbabilities = true,
            TopLogProbabilityCount = 2,
        };
        ChatCompletion whole = await chat.CompleteChatAsync(
            [new UserChatMessage("Tell me of a dog.")],
            options,
            TestContext.Current.CancellationToken
        );
        Assert.Equal(expected.Text, whole.Content[0].Text);
        Assert.Equal(ChatFinishReason.Length, whole.FinishReason);
        Assert.Equal((expected.PromptTokens, 20), (whole.Usage.InputTokenCount, whole.Usage.OutputTokenCount));
        Assert.Equal(20, whole.ContentTokenLogProbabilities.Count);
        // greedy
        Assert.All(whole.ContentTokenLogProbabilities, t => Assert.Equal(t.LogProbability, t.TopLogProbabilities[0].LogProbability));

        var (text, pieces, usage, last) = ("", 0, (ChatTokenUsage?)null, (ChatFinishReason?)null);
        await foreach (
            var update in chat.CompleteChatStreamingAsync(
                [new UserChatMessage("Tell me of a dog.")],
                new ChatCompletionOptions { MaxOutputTokenCount = 20 },
                TestContext.Current.CancellationToken
            )
        )
        {
            text += string.Concat(update.ContentUpdate.Select(c => c.Text));
            pieces += update.ContentUpdate.Count;
            (usage, last) = (update.Usage ?? usage, update.FinishReason ?? last);
        }
        Assert.Equal(expected.Text, text);
        Assert.True(pieces > 5, $"{pieces} pieces");
        Assert.Equal((20, ChatFinishReason.Length), (usage!.OutputTokenCount, last));
        // The same conversation is known already, but for its last token.
        Assert.Equal(expected.PromptTokens - 1, usage.InputTokenDetails.CachedTokenCount);
    }

    [Fact]
    public async Task Models_are_listed_and_a_stop_text_ends_the_answer()
    {
        await using var server = await RunningServer.Start();
        var client = Connect(server);
        OpenAIModelCollection models = await client.GetOpenAIModelClient().GetModelsAsync(TestContext.Current.CancellationToken);
        Assert.Equal(["stories260K-hf"], models.Select(m => m.Id));
        var free = (await server.Model.AnswerAsync(s_question, new GenerationOptions { MaxTokens = 24 }).WholeAsync()).Text;
        var stop = free.Substring(free.Length / 2, 4);
        var options = new ChatCompletionOptions();
        options.StopSequences.Add(stop);
        ChatCompletion stopped = await client
            .GetChatClient("any")
            .CompleteChatAsync([new UserChatMessage("Tell me of a dog.")], options, TestContext.Current.CancellationToken);
        Assert.Equal(free[..free.IndexOf(stop, StringComparison.Ordinal)], string.Concat(stopped.Content.Select(c => c.Text)));
        Assert.Equal(ChatFinishReason.Stop, stopped.FinishReason);
    }

    [Fact]
    public async Task A_key_is_asked_for_where_there_is_one()
    {
        await using var server = await RunningServer.Start(o => o with { ApiKey = "secret" });
        var error = await Assert.ThrowsAsync<ClientResultException>(() =>
            Connect(server, "wrong")
                .GetChatClient("any")
                .CompleteChatAsync([new UserChatMessage("Hi")], null, TestContext.Current.CancellationToken)
        );
        Assert.Equal(401, error.Status);
        ChatCompletion answer = await Connect(server, "secret")
            .GetChatClient("any")
            .CompleteChatAsync([new UserChatMessage("Hi")], null, TestContext.Current.CancellationToken);
        Assert.NotEmpty(answer.Content);
        Assert.Equal(
            System.Net.HttpStatusCode.OK,
            (await server.Client.GetAsync("/health", TestContext.Current.CancellationToken)).StatusCode
        );
        Assert.Equal(
            System.Net.HttpStatusCode.Unauthorized,
            (await server.Client.GetAsync("/metrics", TestContext.Current.CancellationToken)).StatusCode
        );
    }
}
