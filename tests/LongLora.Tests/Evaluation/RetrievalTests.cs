using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using LongLora.Checkpoints;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Evaluation;

public class RetrievalTests
{
    [Fact]
    public void Between_draws_what_python_draws()
    {
        // python3 -c "import random; random.seed(7); print([random.randint(1, 100) for _ in range(8)])"
        var random = new PythonRandom(7);
        Assert.Equal([42, 20, 51, 84, 7, 10, 69, 13], Enumerable.Range(0, 8).Select(_ => random.Between(1, 100)));
    }

    [Fact]
    public void Shuffle_and_choice_draw_what_python_draws()
    {
        // python3 -c "import random; random.seed(3); l = list(range(8)); random.shuffle(l); print(l, [random.choice('abcdef') for _ in
        // range(5)])"
        var random = new PythonRandom(3);
        var list = Enumerable.Range(0, 8).ToList();
        random.Shuffle(list);
        Assert.Equal(ShuffledByPython, list);
        Assert.Equal(ChosenByPython, string.Concat(Enumerable.Range(0, 5).Select(_ => random.Choose([.. "abcdef"]))));
    }

    private static readonly int[] ShuffledByPython = [0, 5, 7, 2, 1, 6, 4, 3];
    private const string ChosenByPython = "feaea";

    [Fact]
    public void Passkey_prompts_are_those_of_the_published_evaluation()
    {
        using var golden = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("passkey_vectors.json")));
        foreach (var vector in golden.RootElement.EnumerateArray())
        {
            var made = new PasskeyTask().Make(vector.GetProperty("seed").GetInt32(), vector.GetProperty("n_garbage").GetInt32());
            Assert.Equal(vector.GetProperty("prompt_chars").GetInt32(), made.Prompt.Length);
            Assert.Equal(
                vector.GetProperty("prompt_sha256").GetString(),
                Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(made.Prompt)))
            );
            Assert.Equal($" {vector.GetProperty("pass_key").GetInt32()}", made.Answer);
            Assert.Equal(10, made.Candidates.Distinct().Count());
            Assert.Contains(made.Answer, made.Candidates);
        }
    }

    private static readonly RetrievalTask[] s_tasks = [new PasskeyTask(), new LinesTask(), new TopicsTask()];

    public static TheoryData<string> Tasks => [.. s_tasks.Select(t => t.GetType().Name)];

    private static RetrievalTask Task(string name) => s_tasks.Single(t => t.GetType().Name == name);

    [Theory]
    [MemberData(nameof(Tasks))]
    public void Make_gives_the_same_document_for_the_same_seed_and_another_for_another(string name)
    {
        var task = Task(name);
        RetrievalCase one = task.Make(5, 40),
            same = task.Make(5, 40),
            other = task.Make(6, 40);
        Assert.Equal((one.Prompt, one.Answer), (same.Prompt, same.Answer));
        Assert.NotEqual(one.Answer, other.Answer);
        Assert.Equal(one.Candidates, same.Candidates);
        Assert.Contains(one.Answer, one.Candidates);
        Assert.Contains(one.Answer.Trim(' ', '>'), one.Prompt);
        Assert.True(task.IsRight(one, one.Answer));
        Assert.All(one.Candidates.Where(c => c != one.Answer), c => Assert.False(task.IsRight(one, c)));
    }

    [Fact]
    public void IsRight_takes_the_first_number_and_forgives_how_a_topic_is_written()
    {
        var lines = new RetrievalCase("", "2416>", 0, []);
        Assert.True(new LinesTask().IsRight(lines, " 2416> is the content, not 17"));
        Assert.False(new LinesTask().IsRight(lines, "24160"));
        Assert.False(new LinesTask().IsRight(lines, "I do not know"));
        var topic = new RetrievalCase("", " the history of wild bees", 0, []);
        Assert.True(new TopicsTask().IsRight(topic, "\"The History of  Wild Bees\"."));
        Assert.False(new TopicsTask().IsRight(topic, "the history of bees"));
    }

    [Fact]
    public void IsRight_as_published_takes_the_last_number()
    {
        var lines = new RetrievalCase("", "2416", 0, []);
        var task = new LinesTask { AsPublished = true };
        Assert.True(task.IsRight(lines, "The <REGISTER_CONTENT> in line 7-torpid-kid is <2416>."));
        Assert.False(task.IsRight(lines, "2416, or rather 17"));
        Assert.False(task.IsRight(lines, "none"));
    }

    [Fact]
    public void LongChats_files_are_read_as_they_are()
    {
        var lines = LongChatCases.Read(SharedMaterial.Shared("data/longchat/lines/200_lines.jsonl"), new LinesTask());
        Assert.Equal(50, lines.Count);
        Assert.Equal("2416", lines[0].Answer);
        Assert.EndsWith("in line torpid-kid? I need the number. ", lines[0].Prompt, StringComparison.Ordinal);
        Assert.InRange(lines[0].Depth, 0.01, 0.99);
        Assert.Equal(10, lines[0].Candidates.Distinct().Count());
        var topics = LongChatCases.Read(SharedMaterial.Shared("data/longchat/topics/5_topics.jsonl"), new TopicsTask());
        Assert.Equal("The psychology of creativity", topics[0].Answer.TrimStart());
        Assert.All(topics, t => Assert.True(char.IsWhiteSpace(t.Prompt[^1]) != (t.Answer[0] == ' ')));
        Assert.All(topics, t => Assert.Contains(t.Answer, t.Candidates));
        Assert.True(new TopicsTask().IsRight(topics[0], " the psychology of creativity."));
        Assert.False(new TopicsTask().IsRight(topics[0] with { Answer = "2024" }, " something else."));
        Assert.False(new TopicsTask().IsRight(topics[0] with { Answer = "Part 1" }, " Part 2"));
        Assert.True(new TopicsTask().IsRight(topics[0] with { Answer = "Part 1" }, " part 1!"));
    }

    [Theory]
    [InlineData("{", "lines")]
    [InlineData("[]", "lines")]
    [InlineData("{\"prompt\":\"p\"}", "lines")]
    [InlineData("{\"prompt\":\"p\",\"expected_number\":\"7\"}", "lines")]
    [InlineData("{\"prompt\":\"p\",\"topics\":[]}", "topics")]
    [InlineData("{\"prompt\":\"p\",\"topics\":[\"a\",\"\"]}", "topics")]
    [InlineData("{\"prompt\":\"p\",\"topics\":[\"?!\",\"a\"]}", "topics")]
    [InlineData("{\"prompt\":\"p\",\"topics\":[null]}", "topics")]
    [InlineData("{\"topics\":[\"a\"]}", "topics")]
    public void LongChats_files_with_something_else_name_the_line(string second, string name)
    {
        using var folder = new TemporaryFolder();
        var path = folder["cases.jsonl"];
        RetrievalTask task = name == "lines" ? new LinesTask() : new TopicsTask();
        File.WriteAllText(path, "{\"prompt\":\"p\",\"expected_number\":7,\"topics\":[\"a\"]}\n" + second);
        var told = Assert.Throws<DataException>(() => LongChatCases.Read(path, task)).Message;
        Assert.Contains("cases.jsonl:2", told, StringComparison.Ordinal);
        Assert.Contains(name == "lines" ? "expected_number" : "topics", told, StringComparison.Ordinal);
        Assert.Contains(
            "There is no file",
            Assert.Throws<DataException>(() => LongChatCases.Read(path + "x", task)).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Ask_asks_what_is_given_in_order()
    {
        var (model, tokenizer) = Stories();
        using var owned = model;
        RetrievalCase[] questions = [new Stories260().Make(0, 3), new Stories260().Make(1, 9)];
        foreach (var scoring in Enum.GetValues<RetrievalScoring>())
        {
            var result = RetrievalEvaluation.Ask(model, tokenizer, new Stories260(), questions, scoring);
            Assert.Equal([true, false], result.Trials.Select(t => t.IsRight));
            Assert.Equal(tokenizer.Encode(questions[1].Prompt, addSpecial: true).Count + 4, result.Length);
        }
    }

    // As generation_config.json gives them beside config.json.
    [Fact]
    public void Ask_stops_where_the_model_ends_its_answers()
    {
        var (model, tokenizer) = Stories();
        using var owned = model;
        RetrievalCase[] questions = [new Stories260().Make(0, 3)];
        string Answer(IReadOnlyList<int>? ends) =>
            RetrievalEvaluation.Ask(model, tokenizer, new Stories260(), questions, ends: ends).Trials.Single().Answered;
        var whole = Answer(null);
        Assert.StartsWith(" girl", whole, StringComparison.Ordinal);
        Assert.True(whole.Length > " girl".Length, whole);
        var next = tokenizer.Encode(questions[0].Prompt + whole, addSpecial: true)[
            tokenizer.Encode(questions[0].Prompt + " girl", addSpecial: true).Count
        ];
        Assert.Equal(" girl", Answer([next]));
    }

    [Fact]
    public void Topics_asks_for_the_first_of_as_many_topics_as_asked_for()
    {
        var made = new TopicsTask().Make(1, 3);
        var named = made
            .Prompt.Split("I would like to discuss the topic of ")
            .Skip(2)
            .Select(p => " " + p[..p.IndexOf(". ", StringComparison.Ordinal)])
            .ToList();
        Assert.Equal(3, named.Count);
        Assert.Equal(made.Answer, named[0]);
    }

    [Fact]
    public void Topics_are_different_however_many_there_are()
    {
        var task = new TopicsTask();
        var few = task.Make(1, 500).Prompt;
        foreach (var size in (int[])[512, 513, 3000, task.LargestSize])
        {
            var named = task.Make(1, size)
                .Prompt.Split("I would like to discuss the topic of ")
                .Skip(2)
                .Select(p => p[..p.IndexOf(". ", StringComparison.Ordinal)]);
            Assert.Equal(size, named.Distinct().Count());
        }
        Assert.Contains("on 500 different topics", few);
    }

    [Fact]
    public void Making_questions_can_be_ended_between_two_tries_of_a_length()
    {
        var (model, tokenizer) = Stories();
        using var owned = model;
        using var ended = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => RetrievalEvaluation.Fit(new Ending(ended), tokenizer, 1, 1000, ended.Token));
    }

    // Ends the search when it is asked for its second document.
    private sealed class Ending(CancellationTokenSource end) : RetrievalTask
    {
        private int _made;

        public override string Name => "ending";
        public override int AnswerTokens => 4;
        public override string Unit => "names";
        public override int SmallestSize => 1;

        public override RetrievalCase Make(int seed, int size)
        {
            if (++_made == 2)
                end.Cancel();
            Assert.True(_made < 4);
            return new("Once", " upon", 0.5, [" upon"]);
        }

        public override bool IsRight(RetrievalCase question, string generated) => true;
    }

    [Fact]
    public void Likelihood_of_one_candidate_alone_is_refused()
    {
        var (model, tokenizer) = Stories();
        using var owned = model;
        RetrievalCase[] questions = [new("p", "a", 0, ["a", "b"]), new("q", "a", 0, ["a"])];
        var told = Assert.Throws<ConfigurationException>(() =>
            RetrievalEvaluation.Ask(model, tokenizer, new TopicsTask(), questions, RetrievalScoring.Likelihood)
        );
        Assert.Contains("always be right", told.Message);
        Assert.Equal(2, RetrievalEvaluation.Ask(model, tokenizer, new TopicsTask(), questions).Trials.Count);
    }

    private static (CausalLanguageModel, ITokenizer) Stories()
    {
        var path = SharedMaterial.Golden("stories260K-hf");
        var folder = CheckpointDirectory.Open(path);
        return (ModelLoader.Load(folder.Config, folder), TokenizerLoader.Load(path));
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void Fit_fills_the_length_and_no_more(string name)
    {
        var task = Task(name);
        var (model, tokenizer) = Stories();
        using var owned = model;
        foreach (var length in new[] { 1500, 4000 })
        {
            var made = RetrievalEvaluation.Fit(task, tokenizer, 3, length);
            var tokens = tokenizer.Encode(made.Prompt + made.Answer, addSpecial: true).Count;
            Assert.InRange(tokens, task is TopicsTask ? length - 900 : length - 60, length);
        }
        var told = Assert.Throws<ConfigurationException>(() => RetrievalEvaluation.Fit(task, tokenizer, 3, 20)).Message;
        Assert.Contains(task.Name, told);
        Assert.Matches("its shortest question with the answer takes [0-9]+", told);
    }

    // A task that the model can do: the likelier of two ends of a sentence from its stories.
    private sealed class Stories260 : RetrievalTask
    {
        public override string Name => "stories";
        public override int AnswerTokens => 4;
        public override string Unit => "names";
        public override int SmallestSize => 1;

        public override RetrievalCase Make(int seed, int size) =>
            new(
                string.Concat(Enumerable.Repeat("Hello. ", size - 1)) + "Once upon a time, there was a little",
                seed % 2 == 0 ? " girl" : " xqzk",
                0.5,
                [" girl", " xqzk", " zzzz"]
            );

        public override bool IsRight(RetrievalCase question, string generated) =>
            generated.StartsWith(question.Answer, StringComparison.Ordinal);
    }

    [Fact]
    public void Run_counts_right_answers_both_ways()
    {
        var (model, tokenizer) = Stories();
        using var owned = model;
        foreach (var scoring in Enum.GetValues<RetrievalScoring>())
        {
            var seen = new List<RetrievalTrial>();
            var result = RetrievalEvaluation.Run(model, tokenizer, new Stories260(), 24, 4, 0, scoring, new Listener(seen.Add));
            Assert.Equal([true, false, true, false], result.Trials.Select(t => t.IsRight));
            Assert.Equal(0.5, result.Accuracy);
            Assert.Equal(result.Trials, seen.OrderBy(t => t.Seed));
        }
    }

    private sealed class Listener(Action<RetrievalTrial> report) : IProgress<RetrievalTrial>
    {
        public void Report(RetrievalTrial value) => report(value);
    }
}
