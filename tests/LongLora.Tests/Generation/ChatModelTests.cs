using System.Text.Json.Nodes;
using LongLora.Generation;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using static TorchSharp.torch;

namespace LongLora.Tests.Generation;

/// <summary>On the real checkpoint of the goldens, with a template by name.</summary>
public class ChatModelTests
{
    private static readonly ChatModelOptions s_stories = new()
    {
        Model = SharedMaterial.Golden("stories260K-hf"),
        Template = "llama2",
        Device = "cpu",
    };
    private static readonly ChatMessage[] s_question = [new("user", "Tell me of a dog.")];

    private static GenerationOptions Greedy(int tokens) => new() { MaxTokens = tokens };

    private static Task<GenerationResult> Answer(ChatModel model, string question, int tokens) =>
        model.AnswerAsync([new("user", question)], Greedy(tokens)).WholeAsync();

    private static Task<GenerationResult> Complete(ChatModel model, string prompt, GenerationOptions options) =>
        model.CompleteAsync(prompt, options).WholeAsync();

    [Fact]
    public async Task Answer_equals_a_generation_from_the_rendered_conversation()
    {
        using var model = ChatModel.Open(s_stories);
        var pieces = new List<AnswerPiece>();
        await foreach (var piece in model.AnswerAsync(s_question, Greedy(30)))
            pieces.Add(piece);
        var answer = pieces[^1].Result!;
        using var plain = LoadedModel.Open(s_stories.Model, new LoadOptions { Device = "cpu" });
        using var generator = new TextGenerator(plain.Network, model.Tokenizer);
        var text = model.Tokenizer.Encode("[INST] Tell me of a dog. [/INST]", addSpecial: true);
        Assert.Equal(text, model.Encode(s_question));
        Assert.Equal(generator.Generate([text], Greedy(30))[0].Tokens, answer.Tokens);
        Assert.Equal(answer.Text, string.Concat(pieces.Select(p => p.Text)));
        Assert.All(pieces.SkipLast(1), p => Assert.True(p.Text.Length > 0 && p.Result is null));
        Assert.Equal(pieces.Select(p => p.Time).Order(), pieces.Select(p => p.Time));
        Assert.Equal(("stories260K-hf", 512, true, text.Count), (model.Name, model.Context, model.HasTemplate, answer.PromptTokens));
    }

    [Fact]
    public async Task Answer_in_a_conversation_reads_only_what_is_new_and_says_the_same()
    {
        using var model = ChatModel.Open(s_stories);
        List<ChatMessage> messages = [.. s_question];
        var read = 0;
        for (var turn = 0; turn < 4; turn++)
        {
            var before = model.Encode(messages);
            var answer = await model.AnswerAsync(messages, Greedy(20)).WholeAsync();
            using var fresh = ChatModel.Open(s_stories);
            Assert.Equal((await fresh.AnswerAsync(messages, Greedy(20)).WholeAsync()).Tokens, answer.Tokens);
            // The question is new; the answer before it was read, but its text may be cut into other tokens than it was made of.
            Assert.InRange(answer.CachedTokens, Math.Max(0, read - 1), before.Count - 1);
            read = before.Count;
            messages.AddRange([new(ChatMessage.Assistant, answer.Text), new("user", "And then?")]);
        }
    }

    [Theory]
    [InlineData(null)]
    [InlineData(KeyValueType.Int8)]
    public async Task Complete_of_a_text_that_outgrows_the_cache_keeps_what_was_read(KeyValueType? type)
    {
        using var model = ChatModel.Open(s_stories with { CacheType = type });
        var first = await Complete(model, "Once upon a time", Greedy(5));
        var longer = await Complete(model, "Once upon a time" + first.Text, Greedy(200));
        Assert.InRange(longer.CachedTokens, 5, longer.PromptTokens - 1);
        using var fresh = ChatModel.Open(s_stories with { CacheType = type });
        Assert.Equal((await Complete(fresh, "Once upon a time", Greedy(205))).Text, first.Text + longer.Text);
    }

    // The model's full stop, under a name that a template can write as the end of a turn.
    [Fact]
    public async Task Answer_ends_at_the_token_that_the_template_writes_behind_answers()
    {
        using var folder = new TemporaryFolder();
        foreach (var file in Directory.GetFiles(s_stories.Model))
            File.Copy(file, folder[Path.GetFileName(file)]);
        var stop = TokenizerLoader.Load(folder.Root).FindToken(".")!.Value;
        var settings = JsonNode.Parse(File.ReadAllText(folder["tokenizer_config.json"]))!;
        settings["added_tokens_decoder"] = new JsonObject
        {
            [$"{stop}"] = new JsonObject { ["content"] = "<stop>", ["special"] = true },
        };
        folder.Text("tokenizer_config.json", settings.ToJsonString());
        const string Template = "{{ bos_token }}{% for m in messages %}{{ m.content }}END{% endfor %}";
        ChatModelOptions options = new()
        {
            Model = folder.Root,
            Template = folder.Text("open.jinja", Template.Replace("END", "", StringComparison.Ordinal)),
            Device = "cpu",
        };
        using var open = ChatModel.Open(options);
        using var closed = ChatModel.Open(
            options with
            {
                Template = folder.Text("closed.jinja", Template.Replace("END", "<stop>", StringComparison.Ordinal)),
            }
        );
        ChatMessage[] asked = [new("user", "Once upon a time")];
        // The same tokens are read: what ends the question is left out here.
        var prompt = open.Encode(asked);
        var free = await open.AnswerTokensAsync(prompt, Greedy(60)).WholeAsync();
        var ended = await closed.AnswerTokensAsync(prompt, Greedy(60)).WholeAsync();
        Assert.Equal([.. prompt, stop], closed.Encode(asked));
        Assert.Equal((60, FinishReason.Length), (free.Tokens.Count, free.Finish));
        Assert.Equal(free.Tokens.TakeWhile(id => id != stop).Append(stop), ended.Tokens);
        Assert.InRange(ended.Tokens.Count, 2, 59);
        Assert.Equal(FinishReason.Stop, ended.Finish);
        Assert.DoesNotContain("<stop>", ended.Text, StringComparison.Ordinal);
        // To go on from a text nothing ends it but the model.
        Assert.Equal(free.Tokens, (await closed.CompleteTokensAsync(prompt, Greedy(60)).WholeAsync()).Tokens);
    }

    // The model's full stop becomes a special token, which no text shows.
    private static (ChatModelOptions Options, int Stop) MakeStopSpecial(TemporaryFolder folder)
    {
        foreach (var file in Directory.GetFiles(s_stories.Model))
            File.Copy(file, folder[Path.GetFileName(file)]);
        var stop = TokenizerLoader.Load(folder.Root).FindToken(".")!.Value;
        var settings = JsonNode.Parse(File.ReadAllText(folder["tokenizer_config.json"]))!;
        settings["added_tokens_decoder"] = new JsonObject
        {
            [$"{stop}"] = new JsonObject { ["content"] = "<stop>", ["special"] = true },
        };
        folder.Text("tokenizer_config.json", settings.ToJsonString());
        return (s_stories with { Model = folder.Root }, stop);
    }

    [Fact]
    public async Task Stop_text_may_be_a_special_token_or_contain_one()
    {
        using var folder = new TemporaryFolder();
        var (options, stop) = MakeStopSpecial(folder);
        using var model = ChatModel.Open(options);
        var free = await Complete(model, "Once upon a time", Greedy(60));
        var ended = await Complete(model, "Once upon a time", Greedy(60) with { Stop = ["<stop>"] });
        Assert.Equal(free.Tokens.TakeWhile(id => id != stop).Append(stop), ended.Tokens);
        Assert.Equal(FinishReason.Stop, ended.Finish);
        Assert.Equal(model.Tokenizer.Decode([.. ended.Tokens]), ended.Text.TrimStart());
        // A part of it, with the letter before it, that begins what is held back.
        var inside = await Complete(model, "Once upon a time", Greedy(60) with { Stop = [ended.Text[^1] + "<st"] });
        Assert.Equal((ended.Text[..^1], FinishReason.Stop), (inside.Text, inside.Finish));
        // The hidden text of a token that ends nothing is never given.
        var other = await Complete(model, "Once upon a time", Greedy(60) with { Stop = ["<stop>?"] });
        Assert.Equal(free.Text, other.Text);
        Assert.Equal(free.Tokens, other.Tokens);
    }

    [Theory]
    [InlineData("STOP")]
    [InlineData("[STOP]")]
    [InlineData("[1, STOP, 2]")]
    public async Task Text_ends_where_generation_config_says(string ends)
    {
        using var folder = new TemporaryFolder();
        var (options, stop) = MakeStopSpecial(folder);
        using var free = ChatModel.Open(options);
        folder.Text("generation_config.json", $$"""{"eos_token_id": {{ends.Replace("STOP", $"{stop}", StringComparison.Ordinal)}}}""");
        using var model = ChatModel.Open(options);
        var expected = (await Complete(free, "Once upon a time", Greedy(60))).Tokens;
        var ended = await Complete(model, "Once upon a time", Greedy(60));
        Assert.Equal(expected.TakeWhile(id => id != stop).Append(stop), ended.Tokens);
        Assert.Equal(FinishReason.Stop, ended.Finish);
        Assert.Equal(expected, (await Complete(model, "Once upon a time", Greedy(60) with { IgnoreEos = true })).Tokens);
        Assert.Equal(
            expected,
            (
                await model
                    .AnswerTokensAsync(model.Tokenizer.Encode("Once upon a time", addSpecial: true), Greedy(60) with { IgnoreEos = true })
                    .WholeAsync()
            ).Tokens
        );
    }

    [Theory]
    [InlineData("\"2\"")]
    [InlineData("[1, null]")]
    [InlineData("-1")]
    public void Ends_of_generation_config_that_are_no_tokens_are_refused(string ends)
    {
        using var folder = new TemporaryFolder();
        var (options, _) = MakeStopSpecial(folder);
        folder.Text("generation_config.json", $$"""{"eos_token_id": {{ends}}}""");
        Assert.Contains(
            "eos_token_id",
            Assert.Throws<CheckpointException>(() => ChatModel.Open(options)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Nothing_ends_an_answer_before_its_fewest_tokens()
    {
        using var folder = new TemporaryFolder();
        var (options, stop) = MakeStopSpecial(folder);
        using var model = ChatModel.Open(options);
        var token = Greedy(60) with { StopTokens = [stop] };
        var early = (await Complete(model, "Once upon a time", token)).Tokens.Count;
        var late = await Complete(model, "Once upon a time", token with { MinTokens = early + 5 });
        Assert.InRange(late.Tokens.Count, early + 5, 60);
        Assert.DoesNotContain(stop, late.Tokens.Take(early + 5));
        var free = (await Complete(model, "Once upon a time", Greedy(60))).Text;
        var text = await Complete(model, "Once upon a time", Greedy(60) with { Stop = [free[3..6]], MinTokens = 20 });
        Assert.InRange(text.Tokens.Count, 20, 60);
        Assert.StartsWith(free[..6], text.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Sample_without_a_seed_is_another_each_time_and_its_seed_repeats_it()
    {
        using var model = ChatModel.Open(s_stories);
        var drawn = Greedy(30) with { Temperature = 1 };
        var answers = new List<GenerationResult>();
        for (var i = 0; i < 4; i++)
            answers.Add(await model.AnswerAsync(s_question, drawn).WholeAsync());
        Assert.Equal(4, answers.Select(a => a.Text).Distinct().Count());
        foreach (var answer in answers)
            Assert.Equal(answer.Tokens, (await model.AnswerAsync(s_question, drawn with { Seed = answer.Seed }).WholeAsync()).Tokens);
    }

    [Fact]
    public void Conversation_is_written_as_its_form_says()
    {
        using var folder = new TemporaryFolder();
        var template = folder.Text(
            "t.jinja",
            "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}[end]{% endfor %}"
                + "{% if add_generation_prompt %}[assistant]{% if thinking is defined and not thinking %}[quick]{% endif %}{% endif %}"
        );
        using var model = ChatModel.Open(s_stories with { Template = template });
        ChatMessage[] asked = [new("user", "Hi"), new(ChatMessage.Assistant, "The answer is ")];
        string Text(ConversationForm form, params ChatMessage[] messages) =>
            model.RequireTemplate().Render(messages, model.Tokenizer, form).Text;
        var before = "[user]Hi[end][assistant]The answer is";
        Assert.Equal(before + "[end][assistant]", Text(ConversationForm.Standard, asked));
        Assert.Equal(before + "[end]", Text(new() { AddGenerationPrompt = false }, asked));
        Assert.Equal(before, Text(new() { ContinueFinalMessage = true }, asked));
        var no = System.Text.Json.JsonElement.Parse("false");
        Assert.Equal(
            "[user]Hi[end][assistant][quick]",
            Text(new() { Variables = new Dictionary<string, System.Text.Json.JsonElement> { ["thinking"] = no } }, asked[0])
        );
        Assert.Throws<DataException>(() => Text(new() { ContinueFinalMessage = true }, asked[0]));
        Assert.Contains(
            "'enable_thinking'",
            Assert
                .Throws<DataException>(() =>
                    Text(new() { Variables = new Dictionary<string, System.Text.Json.JsonElement> { ["enable_thinking"] = no } }, asked)
                )
                .Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Pieces_have_the_log_probabilities_of_their_own_tokens()
    {
        using var model = ChatModel.Open(s_stories);
        var pieces = new List<AnswerPiece>();
        await foreach (var piece in model.AnswerAsync(s_question, Greedy(30) with { TopLogProbabilities = 0 }))
            pieces.Add(piece);
        var tokens = pieces.SelectMany(p => p.LogProbabilities!).Select(p => p.Token).ToList();
        Assert.Equal(pieces[^1].Result!.Tokens, tokens);
        Assert.All(pieces.SkipLast(1), p => Assert.NotEmpty(p.LogProbabilities!));
        Assert.Equal(pieces[0].Text.Trim(), model.Tokenizer.Decode([.. pieces[0].LogProbabilities!.Select(p => p.Token)]).Trim());
    }

    [Fact]
    public async Task Models_beside_each_other_answer_in_turn_and_one_may_go()
    {
        using var first = ChatModel.Open(s_stories with { Name = "first" });
        var order = new List<int>();
        using (var second = first.OpenBeside(s_stories with { Name = "second" }))
        {
            Assert.Equal(("first", "second"), (first.Name, second.Name));
            GenerationOptions Told(int number) =>
                Greedy(number == 0 ? 400 : 4) with
                {
                    IgnoreEos = true,
                    PromptProgress = new Told(() => order.Add(number)),
                };
            var running = first.AnswerAsync(s_question, Told(0)).GetAsyncEnumerator();
            Assert.True(await running.MoveNextAsync());
            var waiting = second.AnswerAsync(s_question, Told(1)).GetAsyncEnumerator();
            var moved = waiting.MoveNextAsync().AsTask();
            Assert.False(moved.IsCompleted);
            Assert.Equal([0], order);
            await running.DisposeAsync();
            Assert.True(await moved);
            await waiting.DisposeAsync();
        }
        Assert.NotEmpty((await Answer(first, "What is red?", 4)).Text);
    }

    [Theory]
    [InlineData(5)]
    [InlineData(300)]
    public async Task Embedding_is_the_mean_of_the_last_hidden_states(int length)
    {
        using var model = ChatModel.Open(s_stories);
        int[] text = [1, .. Enumerable.Range(0, length).Select(i => 260 + (i * 7 % 200))];
        var vector = await model.EmbedTokensAsync(text);
        using var scope = NewDisposeScope();
        using var loaded = LoadedModel.Open(s_stories.Model, new LoadOptions { Device = "cpu" });
        using var positions = RotaryEmbedding.Create(loaded.Config, text.Length);
        long[] ids = [.. text.Select(id => (long)id)];
        var hidden = loaded.Network.Forward(
            tensor(ids, [1, ids.Length]),
            new ForwardContext(new LongLora.Attention.FullAttention(), positions)
        );
        var expected = hidden.squeeze(0).to(ScalarType.Float64).mean([0]).data<double>().ToArray();
        Assert.Equal(loaded.Config.HiddenSize, vector.Length);
        Assert.InRange(expected.Zip(vector, (a, b) => Math.Abs(a - b)).Max(), 0, 1e-4);
        await Assert.ThrowsAsync<DataException>(() => model.EmbedTokensAsync([]));
        await Assert.ThrowsAsync<DataException>(() => model.EmbedTokensAsync([.. Enumerable.Repeat(5, 513)]));
    }

    [Fact]
    public async Task LogProbabilities_are_those_of_the_model_whatever_the_sampling()
    {
        using var model = ChatModel.Open(s_stories);
        var made = await Complete(
            model,
            "Once upon a time",
            Greedy(12) with
            {
                Temperature = 1.3,
                RepetitionPenalty = 1.2,
                Seed = 3,
                TopLogProbabilities = 3,
            }
        );
        Assert.Null((await Complete(model, "Once", Greedy(2))).LogProbabilities);
        var alone = await Complete(model, "Once", Greedy(2) with { TopLogProbabilities = 0 });
        Assert.All(alone.LogProbabilities!, p => Assert.Empty(p.Likeliest));
        using var scope = NewDisposeScope(); // from here on nothing is awaited
        using var loaded = LoadedModel.Open(s_stories.Model, new LoadOptions { Device = "cpu" });
        var plain = loaded.Network;
        long[] ids = [.. model.Tokenizer.Encode("Once upon a time", addSpecial: true).Concat(made.Tokens).Select(id => (long)id)];
        using var positions = RotaryEmbedding.Create(plain.Config, ids.Length);
        var hidden = plain.Forward(tensor(ids, [1, ids.Length]), new ForwardContext(new LongLora.Attention.FullAttention(), positions));
        var expected = plain.Head.Forward(hidden.squeeze(0)).to(ScalarType.Float64).log_softmax(-1);
        Assert.Equal(made.Tokens, made.LogProbabilities!.Select(p => p.Token));
        for (var i = 0; i < made.Tokens.Count; i++)
        {
            var row = expected[made.PromptTokens - 1 + i];
            var told = made.LogProbabilities![i];
            Assert.Equal(row[told.Token].item<double>(), told.LogProbability, 1e-4);
            var (values, indices) = row.topk(3);
            Assert.Equal(indices.data<long>().Select(id => (int)id), told.Likeliest.Select(t => t.Token));
            for (var place = 0; place < 3; place++)
                Assert.Equal(values[place].item<double>(), told.Likeliest[place].LogProbability, 1e-4);
        }
    }

    [Fact]
    public async Task Answer_after_a_cancelled_one_is_as_if_it_had_not_been()
    {
        using var model = ChatModel.Open(s_stories);
        using var source = new CancellationTokenSource();
        var told = await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (var _ in model.AnswerAsync(s_question, Greedy(100), source.Token))
                await source.CancelAsync();
        });
        Assert.Equal(source.Token, told.CancellationToken);
        using var fresh = ChatModel.Open(s_stories);
        Assert.Equal((await Answer(fresh, "A cat.", 30)).Tokens, (await Answer(model, "A cat.", 30)).Tokens);
    }

    [Fact]
    public async Task Leaving_the_stream_ends_the_generation_before_the_next_one_begins()
    {
        using var model = ChatModel.Open(s_stories);
        var begun = 0;
        var options = Greedy(400) with { IgnoreEos = true, PromptProgress = new Told(() => begun++) };
        await foreach (var _ in model.AnswerAsync(s_question, options))
            break;
        await foreach (var piece in model.AnswerAsync(s_question, options))
        {
            // The answer that was left has ended, and kept what it had read for this one.
            if (piece.Result is { } result)
                Assert.Equal(result.PromptTokens - 1, result.CachedTokens);
        }
        Assert.Equal(2, begun);
        // An answer that nobody reads is never begun.
        _ = model.AnswerAsync(s_question, options);
        Assert.Equal(2, begun);
    }

    [Fact]
    public async Task Answers_asked_for_at_once_are_those_asked_for_alone()
    {
        using var model = ChatModel.Open(s_stories);
        string[] questions = ["Tell me of a dog.", "Tell me of a cat.", "What is red?"];
        var together = await Task.WhenAll(questions.Select(q => Task.Run(() => Answer(model, q, 20))));
        using var fresh = ChatModel.Open(s_stories);
        for (var i = 0; i < questions.Length; i++)
            Assert.Equal((await Answer(fresh, questions[i], 20)).Text, together[i].Text);
    }

    [Fact]
    public async Task Answers_are_made_in_the_order_in_which_they_were_asked_for_and_none_after_the_end()
    {
        var model = ChatModel.Open(s_stories);
        var order = new List<int>();
        IAsyncEnumerator<AnswerPiece> Ask(int number)
        {
            var options = Greedy(number == 0 ? 400 : 4) with { IgnoreEos = true, PromptProgress = new Told(() => order.Add(number)) };
            return model.AnswerAsync([new("user", $"Tell me of {number} dogs.")], options).GetAsyncEnumerator();
        }
        var first = Ask(0);
        Assert.True(await first.MoveNextAsync());
        var waiting = Enumerable.Range(1, 4).Select(Ask).ToList();
        var moved = waiting.ConvertAll(answer => answer.MoveNextAsync().AsTask());
        Assert.All(moved, task => Assert.False(task.IsCompleted)); // the first one is still being made
        await first.DisposeAsync();
        for (var i = 0; i < waiting.Count; i++)
        {
            Assert.True(await moved[i]);
            await waiting[i].DisposeAsync();
        }
        Assert.Equal([0, 1, 2, 3, 4], order);

        var last = Ask(0);
        Assert.True(await last.MoveNextAsync());
        var late = Ask(5);
        var never = late.MoveNextAsync();
        model.Dispose();
        model.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await never);
        await Assert.ThrowsAsync<ObjectDisposedException>(async () =>
        {
            while (await last.MoveNextAsync()) { }
        });
        await Assert.ThrowsAsync<ObjectDisposedException>(() => Complete(model, "Once", Greedy(2)));
        Assert.DoesNotContain(5, order);
    }

    [Fact]
    public async Task Model_without_a_template_completes_and_says_how_to_choose_one()
    {
        using var model = ChatModel.Open(s_stories with { Template = "auto" });
        Assert.False(model.HasTemplate);
        Assert.NotEmpty((await Complete(model, "Once", Greedy(3))).Text);
        var told = await Assert.ThrowsAsync<ConfigurationException>(() => Answer(model, "What?", 3));
        Assert.Contains("--template", told.Message, StringComparison.Ordinal);
        Assert.Throws<DataException>(() =>
        {
            using var chat = ChatModel.Open(s_stories);
            return chat.Encode([]);
        });
        Assert.Throws<ConfigurationException>(() => ChatModel.Open(s_stories with { Context = 1 }));
    }

    // Told once a generation, on its thread, before anything is read: the prompts are shorter than a chunk.
    private sealed class Told(Action begun) : IProgress<PromptProgress>
    {
        public void Report(PromptProgress value) => begun();
    }
}
