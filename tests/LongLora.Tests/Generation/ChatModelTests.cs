using LongLora.Checkpoints;
using LongLora.Generation;
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

    [Fact]
    public void Answer_equals_a_generation_from_the_rendered_conversation()
    {
        using var model = ChatModel.Open(s_stories);
        var pieces = new List<string>();
        var answer = model.Answer(s_question, Greedy(30), pieces.Add);
        using var folder = CheckpointDirectory.Open(s_stories.Model);
        using var plain = ModelLoader.Load(folder.Config, folder);
        using var generator = new TextGenerator(plain, model.Tokenizer);
        var text = model.Tokenizer.Encode("[INST] Tell me of a dog. [/INST]", addSpecial: true);
        Assert.Equal(text, model.Encode(s_question));
        Assert.Equal(generator.Generate([text], Greedy(30))[0].Tokens, answer.Tokens);
        Assert.Equal(answer.Text, string.Concat(pieces));
        Assert.Equal(("stories260K-hf", 512, true, text.Count), (model.Name, model.Context, model.HasTemplate, answer.PromptTokens));
    }

    [Fact]
    public void Answer_in_a_conversation_reads_only_what_is_new_and_says_the_same()
    {
        using var model = ChatModel.Open(s_stories);
        List<ChatMessage> messages = [.. s_question];
        var read = 0;
        for (var turn = 0; turn < 4; turn++)
        {
            var before = model.Encode(messages);
            var answer = model.Answer(messages, Greedy(20));
            using var fresh = ChatModel.Open(s_stories);
            Assert.Equal(fresh.Answer(messages, Greedy(20)).Tokens, answer.Tokens);
            // The question is new; the answer before it was read, but its text may be cut into other tokens than it was made of.
            Assert.InRange(answer.CachedTokens, Math.Max(0, read - 1), before.Count - 1);
            read = before.Count;
            messages.AddRange([new(ChatMessage.Assistant, answer.Text), new("user", "And then?")]);
        }
    }

    [Theory]
    [InlineData(null)]
    [InlineData(KeyValueType.Int8)]
    public void Complete_of_a_text_that_outgrows_the_cache_keeps_what_was_read(KeyValueType? type)
    {
        using var model = ChatModel.Open(s_stories with { CacheType = type });
        var first = model.Complete("Once upon a time", Greedy(5));
        var longer = model.Complete("Once upon a time" + first.Text, Greedy(200));
        Assert.InRange(longer.CachedTokens, 5, longer.PromptTokens - 1);
        using var fresh = ChatModel.Open(s_stories with { CacheType = type });
        Assert.Equal(fresh.Complete("Once upon a time", Greedy(205)).Text, first.Text + longer.Text);
    }

    [Fact]
    public void Answer_ends_at_what_the_template_writes_behind_answers()
    {
        using var model = ChatModel.Open(s_stories with { Template = "chatml" });
        // <|im_end|> is no token of this model; a character of its story stands for it.
        var free = model.Answer(s_question, Greedy(30));
        var path = Path.Combine(Directory.CreateTempSubdirectory("longlora-test-").FullName, "t.jinja");
        File.WriteAllText(path, "{{ bos_token }}{% for m in messages %}{{ m.content }}</s>{% endfor %}");
        using var closed = ChatModel.Open(s_stories with { Template = path });
        var story = closed.Answer(s_question, Greedy(30) with { IgnoreEos = true, StopTokens = [free.Tokens[0]] });
        Assert.Equal(30, free.Tokens.Count);
        Assert.True(story.Tokens.Count <= 30);
        var second = closed.Complete("Once upon a time", Greedy(30));
        var stopped = closed.Complete("Once upon a time", Greedy(30) with { StopTokens = [second.Tokens[7]] });
        Assert.Equal(second.Tokens.Take(second.Tokens.ToList().IndexOf(second.Tokens[7]) + 1), stopped.Tokens);
        Assert.Equal(FinishReason.Stop, stopped.Finish);
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Fact]
    public void LogProbabilities_are_those_of_the_model_whatever_the_sampling()
    {
        using var scope = NewDisposeScope();
        using var model = ChatModel.Open(s_stories);
        var made = model.Complete(
            "Once upon a time",
            Greedy(12) with
            {
                Temperature = 1.3,
                RepetitionPenalty = 1.2,
                Seed = 3,
                TopLogProbabilities = 3,
            }
        );
        using var folder = CheckpointDirectory.Open(s_stories.Model);
        using var plain = ModelLoader.Load(folder.Config, folder);
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
        Assert.Null(model.Complete("Once", Greedy(2)).LogProbabilities);
        Assert.All(model.Complete("Once", Greedy(2) with { TopLogProbabilities = 0 }).LogProbabilities!, p => Assert.Empty(p.Likeliest));
    }

    [Fact]
    public void Answer_after_a_cancelled_one_is_as_if_it_had_not_been()
    {
        using var model = ChatModel.Open(s_stories);
        using var source = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => model.Answer(s_question, Greedy(100), _ => source.Cancel(), source.Token));
        using var fresh = ChatModel.Open(s_stories);
        Assert.Equal(fresh.Answer(s_question, Greedy(30)).Tokens, model.Answer(s_question, Greedy(30)).Tokens);
    }

    [Fact]
    public async Task Answers_asked_for_at_once_are_those_asked_for_alone()
    {
        using var model = ChatModel.Open(s_stories);
        string[] questions = ["Tell me of a dog.", "Tell me of a cat.", "What is red?"];
        var together = await Task.WhenAll(questions.Select(q => Task.Run(() => model.Answer([new("user", q)], Greedy(20)).Text)));
        using var fresh = ChatModel.Open(s_stories);
        Assert.Equal(questions.Select(q => fresh.Answer([new("user", q)], Greedy(20)).Text), together);
    }

    [Fact]
    public void Model_without_a_template_completes_and_says_how_to_choose_one()
    {
        using var model = ChatModel.Open(s_stories with { Template = "auto" });
        Assert.False(model.HasTemplate);
        Assert.NotEmpty(model.Complete("Once", Greedy(3)).Text);
        var told = Assert.Throws<ConfigurationException>(() => model.Answer(s_question, Greedy(3)));
        Assert.Contains("--template", told.Message, StringComparison.Ordinal);
        Assert.Throws<DataException>(() =>
        {
            using var chat = ChatModel.Open(s_stories);
            return chat.Encode([]);
        });
        Assert.Throws<ConfigurationException>(() => ChatModel.Open(s_stories with { Context = 1 }));
    }
}
