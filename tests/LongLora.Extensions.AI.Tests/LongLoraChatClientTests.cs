using LongLora.Generation;
using LongLora.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using TemplateMessage = LongLora.Tokenization.ChatMessage;

namespace LongLora.Extensions.AI.Tests;

/// <summary>The client against the model below it, on a real checkpoint.</summary>
public class LongLoraChatClientTests
{
    private static readonly ChatMessage[] s_question = [new(ChatRole.User, "Tell me of a dog.")];

    private static ChatModel Model => field ??= ChatModel.Open(Stories.Options);

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    private static Task<GenerationResult> Below(string question, GenerationOptions options) =>
        Model.AnswerAsync([new TemplateMessage("user", question)], options).WholeAsync(Cancelled);

    private static Task<GenerationResult> Complete(ChatModel model) =>
        model.CompleteAsync("Once", new() { MaxTokens = 3 }).WholeAsync(Cancelled);

    [Fact]
    public async Task GetResponse_is_the_answer_of_the_model_with_usage_and_reason()
    {
        using var client = Stories.Open();
        var expected = await Below("Tell me of a dog.", new GenerationOptions { MaxTokens = 30 });
        var options = new ChatOptions { MaxOutputTokens = 30 };
        var answer = await client.GetResponseAsync(s_question, options, Cancelled);
        Assert.Equal(expected.Text, answer.Text);
        Assert.Equal(ChatRole.Assistant, Assert.Single(answer.Messages).Role);
        Assert.Equal((ChatFinishReason.Length, "stories260K-hf"), (answer.FinishReason, answer.ModelId));
        var usage = answer.Usage!;
        Assert.Equal(
            (expected.PromptTokens, 30, expected.PromptTokens + 30, 0),
            (usage.InputTokenCount, usage.OutputTokenCount, usage.TotalTokenCount, usage.CachedInputTokenCount)
        );
        Assert.Equal(expected.Tokens, Assert.IsType<GenerationResult>(answer.RawRepresentation).Tokens);

        // The next call of the conversation reads what is new alone.
        var next = await client.GetResponseAsync([.. s_question, .. answer.Messages, new(ChatRole.User, "And then?")], options, Cancelled);
        Assert.InRange((long)next.Usage!.CachedInputTokenCount!, (long)usage.InputTokenCount! - 1, (long)next.Usage.InputTokenCount! - 1);
    }

    [Fact]
    public async Task Streaming_gives_the_same_text_in_pieces_before_it_is_finished()
    {
        using var client = Stories.Open();
        var options = new ChatOptions { MaxOutputTokens = 40 };
        var updates = await client.GetStreamingResponseAsync(s_question, options, Cancelled).ToListAsync(Cancelled);
        var whole = updates.ToChatResponse();
        var plain = await client.GetResponseAsync(s_question, options, Cancelled);
        Assert.True(updates.Count > 10, $"{updates.Count} updates");
        Assert.All(updates, u =>
            Assert.Equal((ChatRole.Assistant, updates[0].ResponseId, updates[0].MessageId), (u.Role, u.ResponseId, u.MessageId))
        );
        Assert.Equal((plain.Text, plain.FinishReason), (whole.Text, whole.FinishReason));
        Assert.Equal(
            (plain.Usage!.InputTokenCount, plain.Usage.OutputTokenCount),
            (whole.Usage!.InputTokenCount, whole.Usage.OutputTokenCount)
        );
        Assert.Equal(ChatFinishReason.Length, Assert.Single(updates, u => u.FinishReason is not null).FinishReason);
    }

    [Fact]
    public async Task Options_are_those_of_the_generation()
    {
        using var client = Stories.Open();
        var sampled = new GenerationOptions
        {
            MaxTokens = 25,
            Temperature = 0.5,
            TopP = 0.75,
            TopK = 20,
            Seed = 5,
        };
        var options = new ChatOptions
        {
            MaxOutputTokens = 25,
            Temperature = 0.5f,
            TopP = 0.75f,
            TopK = 20,
            Seed = 5,
        };
        var expected = await Below("Tell me of a dog.", sampled);
        Assert.Equal(expected.Text, (await client.GetResponseAsync(s_question, options, Cancelled)).Text);

        options.Seed = 6;
        Assert.NotEqual(expected.Text, (await client.GetResponseAsync(s_question, options, Cancelled)).Text);
        options.Seed = 5 + (1L << 32); // all 64 bits count
        Assert.NotEqual(expected.Text, (await client.GetResponseAsync(s_question, options, Cancelled)).Text);
        options.Seed = 5;
        options.FrequencyPenalty = 1.5f;
        options.PresencePenalty = 0.5f;
        var penalized = await Below("Tell me of a dog.", sampled with { FrequencyPenalty = 1.5, PresencePenalty = 0.5 });
        Assert.NotEqual(expected.Text, penalized.Text);
        Assert.Equal(penalized.Text, (await client.GetResponseAsync(s_question, options, Cancelled)).Text);
        options.FrequencyPenalty = options.PresencePenalty = null;
        var word = expected.Text.Split(' ', StringSplitOptions.RemoveEmptyEntries)[4];
        options.StopSequences = [word];
        var stopped = await client.GetResponseAsync(s_question, options, Cancelled);
        Assert.Equal(
            (expected.Text[..expected.Text.IndexOf(word, StringComparison.Ordinal)], ChatFinishReason.Stop),
            (stopped.Text, stopped.FinishReason)
        );

        // What Microsoft.Extensions.AI has no name for comes by the model's own options.
        var own = sampled with { RepetitionPenalty = 1.5, MinP = 0.05 };
        var raw = new ChatOptions { RawRepresentationFactory = _ => own with { Seed = 1 }, Seed = 5 };
        Assert.Equal((await Below("Tell me of a dog.", own)).Text, (await client.GetResponseAsync(s_question, raw, Cancelled)).Text);
        using var settled = Stories.Open(own);
        Assert.Equal(
            (await Below("Tell me of a dog.", own)).Text,
            (await settled.GetResponseAsync(s_question, cancellationToken: Cancelled)).Text
        );
    }

    [Fact]
    public async Task Instructions_and_contents_become_one_conversation()
    {
        using var client = Stories.Open();
        async Task<long?> Read(ChatOptions? options, params ChatMessage[] messages) =>
            (
                await client.GetResponseAsync(
                    messages,
                    new ChatOptions { MaxOutputTokens = 1, Instructions = options?.Instructions },
                    Cancelled
                )
            )
                .Usage!
                .InputTokenCount;
        int Count(params TemplateMessage[] messages) => Model.Encode(messages).Count;

        var user = new TemplateMessage("user", "Hello");
        Assert.Equal(
            Count(new("system", "Be kind."), user),
            await Read(new() { Instructions = "Be kind." }, new ChatMessage(ChatRole.User, "Hello"))
        );
        Assert.Equal(
            Count(new("system", "Be kind.\n\nBe short."), user),
            await Read(
                new() { Instructions = "Be kind." },
                new ChatMessage(ChatRole.System, "Be short."),
                new ChatMessage(ChatRole.User, "Hello")
            )
        );
        var document = new DataContent("A dog ran.\n"u8.ToArray(), "text/markdown");
        Assert.Equal(
            Count(new TemplateMessage("user", "A dog ran.\nWho ran?")),
            await Read(null, new ChatMessage(ChatRole.User, [document, new TextContent("Who ran?")]))
        );
    }

    public static TheoryData<string, ChatOptions> Impossible =>
        new()
        {
            {
                "web_search",
                new ChatOptions { Tools = [new HostedWebSearchTool()] }
            },
            {
                "there is none",
                new ChatOptions { ToolMode = ChatToolMode.RequireAny }
            },
            {
                "conversation id",
                new ChatOptions { ConversationId = "7" }
            },
            {
                "effort of reasoning",
                new ChatOptions { Reasoning = new() { Effort = ReasoningEffort.High } }
            },
            {
                "output of its own",
                new ChatOptions { Reasoning = new() { Output = ReasoningOutput.Full } }
            },
            {
                "continuation token",
                new ChatOptions { ContinuationToken = ResponseContinuationToken.FromBytes(new byte[] { 1 }) }
            },
            {
                "'gpt'",
                new ChatOptions { ModelId = "gpt" }
            },
            {
                "top_a",
                new ChatOptions { AdditionalProperties = new() { ["top_a"] = 1 } }
            },
            {
                "System.String",
                new ChatOptions { RawRepresentationFactory = _ => "text" }
            },
        };

    [Theory]
    [MemberData(nameof(Impossible))]
    public async Task What_cannot_be_honoured_is_refused_by_name(string named, ChatOptions options)
    {
        using var client = Stories.Open();
        var told = await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync(s_question, options, Cancelled));
        Assert.Contains(named, told.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<NotSupportedException>(async () =>
            await client.GetStreamingResponseAsync(s_question, options, Cancelled).ToListAsync(Cancelled)
        );
    }

    [Fact]
    public async Task Wrong_calls_say_what_is_wrong_and_leave_the_client_usable()
    {
        using var client = Stories.Open();
        var image = new ChatMessage(ChatRole.User, [new DataContent(new byte[] { 1 }, "image/png")]);
        Assert.Contains(
            "image/png",
            (await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([image], cancellationToken: Cancelled))).Message,
            StringComparison.Ordinal
        );
        var call = new ChatMessage(ChatRole.User, [new UriContent("https://example.com/a.pdf", "application/pdf")]);
        Assert.Contains(
            "UriContent",
            (await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([call], cancellationToken: Cancelled))).Message,
            StringComparison.Ordinal
        );
        var rubbish = new ChatMessage(ChatRole.User, [new DataContent(new byte[] { 0xff, 0xfe, 0xff }, "text/plain")]);
        await Assert.ThrowsAsync<DataException>(() => client.GetResponseAsync([rubbish], cancellationToken: Cancelled));
        await Assert.ThrowsAsync<ConfigurationException>(() => client.GetResponseAsync(s_question, new() { TopP = 2 }, Cancelled));
        await Assert.ThrowsAsync<DataException>(() => client.GetResponseAsync([], cancellationToken: Cancelled));
        var long1 = new ChatMessage(ChatRole.User, string.Concat(Enumerable.Repeat("a dog ran home. ", 300)));
        await Assert.ThrowsAsync<DataException>(async () =>
            await client.GetStreamingResponseAsync([long1], cancellationToken: Cancelled).ToListAsync(Cancelled)
        );
        Assert.Equal(
            (await Below("Tell me of a dog.", new() { MaxTokens = 5 })).Text,
            (await client.GetResponseAsync(s_question, new() { MaxOutputTokens = 5 }, Cancelled)).Text
        );
    }

    [Fact]
    public async Task Cancelling_or_leaving_a_stream_ends_the_generation()
    {
        using var client = Stories.Open();
        var options = new ChatOptions { MaxOutputTokens = 400, RawRepresentationFactory = _ => new GenerationOptions { IgnoreEos = true } };
        using var source = new CancellationTokenSource();
        var pieces = 0;
        var told = await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in client.GetStreamingResponseAsync(s_question, options, source.Token))
            {
                if (++pieces == 3)
                    await source.CancelAsync();
            }
        });
        Assert.Equal(source.Token, told.CancellationToken);
        await foreach (var _ in client.GetStreamingResponseAsync(s_question, options, Cancelled))
            break;
        using var already = new CancellationTokenSource();
        await already.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client.GetResponseAsync(s_question, options, already.Token));
        // Nothing runs any more: the model answers at once, and as ever.
        Assert.Equal(
            (await Below("Tell me of a dog.", new() { MaxTokens = 5 })).Text,
            (await client.GetResponseAsync(s_question, new() { MaxOutputTokens = 5 }, Cancelled)).Text
        );
    }

    [Fact]
    public async Task Calls_at_once_are_answered_as_alone()
    {
        using var client = Stories.Open();
        string[] questions = [.. Enumerable.Range(0, 12).Select(i => $"Tell me of {i} dogs.")];
        var together = await Task.WhenAll(
            questions.Select(
                async (question, i) =>
                    i % 2 == 0
                        ? (await client.GetResponseAsync(question, new() { MaxOutputTokens = 12 }, Cancelled)).Text
                        : (
                            await client
                                .GetStreamingResponseAsync(question, new() { MaxOutputTokens = 12 }, Cancelled)
                                .ToChatResponseAsync(Cancelled)
                        ).Text
            )
        );
        for (var i = 0; i < questions.Length; i++)
            Assert.Equal((await Below(questions[i], new() { MaxTokens = 12 })).Text, together[i]);
    }

    [Fact]
    public async Task Dispose_ends_what_is_answered_and_takes_the_model_only_where_it_is_owned()
    {
        using var model = ChatModel.Open(Stories.Options);
        var client = model.AsIChatClient();
        var stream = client.GetStreamingResponseAsync(s_question, new() { MaxOutputTokens = 400 }, Cancelled).GetAsyncEnumerator(Cancelled);
        Assert.True(await stream.MoveNextAsync());
        client.Dispose();
        client.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () =>
        {
            while (await stream.MoveNextAsync()) { }
        });
        await stream.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => client.GetResponseAsync(s_question, cancellationToken: Cancelled));
        Assert.NotEmpty((await Complete(model)).Text);

        model.AsIChatClient(ownsModel: true).Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Complete(model));
    }

    [Fact]
    public void Services_are_metadata_model_and_the_client_itself()
    {
        using var client = Stories.Open();
        var metadata = client.GetRequiredService<ChatClientMetadata>();
        Assert.Equal(("longlora", "stories260K-hf"), (metadata.ProviderName, metadata.DefaultModelId));
        Assert.Equal(512, client.GetRequiredService<ChatModel>().Context);
        Assert.Same(client, client.GetService<IChatClient>());
        Assert.Null(client.GetService(typeof(string)));
        Assert.Null(client.GetService(typeof(ChatModel), "key"));
    }

    [Fact]
    public async Task Container_opens_one_model_and_closes_it()
    {
        ChatModel model;
        await using (var services = new ServiceCollection().AddLongLora(Stories.Options, new() { MaxTokens = 4 }).BuildServiceProvider())
        {
            var client = services.GetRequiredService<IChatClient>();
            model = services.GetRequiredService<ChatModel>();
            Assert.Same(model, client.GetService<ChatModel>());
            Assert.Equal(4, (await client.GetResponseAsync("Hello", cancellationToken: Cancelled)).Usage!.OutputTokenCount);
        }
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Complete(model));
    }

    [Fact]
    public void Model_without_a_template_is_refused_with_what_to_do()
    {
        LibTorch.EnsureLoaded();
        var told = Assert.Throws<ConfigurationException>(() => LongLoraChatClient.Open(Stories.Options with { Template = null }));
        Assert.Contains("ChatModelOptions.Template", told.Message, StringComparison.Ordinal);
    }
}
