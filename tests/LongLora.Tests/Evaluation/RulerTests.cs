using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using LongLora.Checkpoints;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Evaluation;

public partial class RulerTests
{
    public static TheoryData<string> Names => [.. RulerTask.CreateAll().Select(t => t.Name)];

    private static RulerTask Task(string name) => RulerTask.CreateAll().Single(t => t.Name == name);

    [Theory]
    [MemberData(nameof(Names))]
    public void Make_gives_the_same_document_for_the_same_seed_and_full_score_for_its_answer(string name)
    {
        var task = Task(name);
        RetrievalCase one = task.Make(5, 60),
            same = task.Make(5, 60),
            other = task.Make(6, 60),
            larger = task.Make(5, 90);
        Assert.Equal((one.Prompt, one.Answer), (same.Prompt, same.Answer));
        Assert.NotEqual(one.Answer, other.Answer);
        Assert.True(larger.Prompt.Length > one.Prompt.Length);
        Assert.Equal(1, task.Score(one, one.Answer));
        Assert.True(task.IsRight(one, one.Answer.ToUpperInvariant())); // case does not count
        Assert.Equal(0, task.Score(one, ""));
        Assert.All(one.References, reference => Assert.Contains(reference, one.Prompt, StringComparison.Ordinal));
        Assert.InRange(one.Depth, 0, 1);
        Assert.NotEmpty(task.Make(1, task.SmallestSize).Prompt);
    }

    // Documents must not change unseen: scores could not be compared any more.
    [Fact]
    public void Make_documents_are_those_of_every_machine()
    {
        var all = string.Concat(RulerTask.CreateAll().Select(t => t.ForLength(4095).Make(42, 50)).Select(c => c.Prompt + c.Answer));
        var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(all)));
        Assert.True(hash == "32d2729311909da7a7760c60c9acd8d25810d4096010c658e48bcea9c4fe5c60", hash);
    }

    [Fact]
    public void Score_is_the_share_of_the_wanted_answers_found()
    {
        var question = new RetrievalCase("", "", 0, []) { References = ["1234567", "Bold-Oak", "7654321", "gate"] };
        var task = Task("niah_multivalue");
        Assert.Equal(0.75, task.Score(question, "They are 1234567, bold-oak and the GATE."));
        Assert.False(task.IsRight(question, "They are 1234567, bold-oak and the GATE."));
        Assert.Equal(0.25, task.Score(question, "01234567890")); // parts of longer words count, as in RULER
        Assert.Equal(1, new RetrievalAtLength(8, [new(1, 0, 5, true, "")]).Accuracy);
        Assert.Equal(0.625, new RetrievalAtLength(8, [new(1, 0, 5, true, ""), new(2, 0, 5, false, "") { Score = 0.25 }]).Accuracy);
    }

    [Fact]
    public void Needles_are_asked_for_in_rulers_words()
    {
        var single = Task("niah_single_1").Make(3, 4);
        Assert.Matches(
            @"^A special magic number is hidden within the following text\. Make sure to memorize it\. "
                + @"I will quiz you about the number afterwards\.\n",
            single.Prompt
        );
        Assert.Matches(
            @"\nWhat is the special magic number for (\w+-\w+) mentioned in the provided text\? "
                + @"The special magic number for \1 mentioned in the provided text is$",
            single.Prompt
        );
        Assert.Matches(@"\nOne of the special magic numbers for \w+-\w+ is: " + single.Answer.Trim() + @"\.\n", single.Prompt);
        Assert.Equal(4, Regex.Count(single.Prompt, "The grass is green"));
        Assert.Equal(10, single.Candidates.Distinct().Count());

        var several = Task("niah_multiquery").Make(3, 50);
        Assert.Matches(
            @"What are all the special magic numbers for [\w-]+, [\w-]+, [\w-]+, and [\w-]+ mentioned in the provided text\? "
                + @"The special magic numbers for .* are$",
            several.Prompt
        );
        Assert.Equal(4, several.References.Distinct().Count());
        Assert.Empty(several.Candidates);

        var values = Task("niah_multivalue").Make(3, 50);
        Assert.Equal(4, values.References.Distinct().Count());
        Assert.Single(Needle().Matches(values.Prompt).Select(m => m.Groups["key"].Value).Distinct());
        Assert.Equal(4, Needle().Count(Task("niah_multikey_1").Make(3, 50).Prompt));
        Assert.Equal(51, Needle().Count(Task("niah_multikey_2").Make(3, 50).Prompt));
        const string uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
        Assert.Equal(51, Regex.Count(Task("niah_multikey_3").Make(3, 50).Prompt, $"special magic uuids for {uuid} is: {uuid}\\."));
    }

    [Fact]
    public void Needles_stand_at_the_depth_that_is_told()
    {
        string[] book = [.. Enumerable.Range(0, 500).Select(i => $"Sentence {i} of the book.")];
        var task = RulerTask.CreateAll(book).Single(t => t.Name == "niah_single_2");
        var depths = new List<double>();
        for (var seed = 0; seed < 40; seed++)
        {
            var made = task.Make(seed, 200);
            var text = made.Prompt.Split('\n')[1];
            var sentences = RulerNeedleTask.SplitSentences(text);
            Assert.Equal(201, sentences.Count);
            var place = sentences.ToList().FindIndex(s => s.Contains("special magic", StringComparison.Ordinal));
            Assert.Equal(place / 200.0, made.Depth, 1e-12);
            depths.Add(made.Depth);
        }
        Assert.True(depths.Min() < 0.1 && depths.Max() > 0.9 && depths.Distinct().Count() > 15);
    }

    [Fact]
    public void Variables_form_one_chain_whose_names_are_all_wanted()
    {
        var made = Task("vt").Make(7, 30);
        var assignments = Regex
            .Matches(made.Prompt, @"^VAR ([A-Z]{5}) = (?:VAR )?(\w+) ?$", RegexOptions.Multiline)
            .Select(m => (m.Groups[1].Value, Of: m.Groups[2].Value))
            .ToList();
        Assert.Equal(made.References, assignments.Select(a => a.Value)); // in order
        Assert.Matches(@"^\d{5}$", assignments[0].Of);
        Assert.Equal(assignments.SkipLast(1).Select(a => a.Value), assignments.Skip(1).Select(a => a.Of));
        Assert.EndsWith($"5 variables are assigned the value {assignments[0].Of}, they are: ", made.Prompt, StringComparison.Ordinal);
        // The solved example before it has names of three letters.
        Assert.Matches(@"5 variables are assigned the value 12345, they are: [A-Z]{3}( [A-Z]{3}){4}\n\n", made.Prompt);
    }

    [Theory]
    [InlineData(4095, 60, 6, 1)]
    [InlineData(4095, 400, 6, 1)]
    [InlineData(4096, 60, 30, 3)]
    public void Common_words_are_as_many_times_there_as_they_should(int length, int size, int often, int seldom)
    {
        var made = Task("cwe").ForLength(length).Make(7, size);
        var list = made.Prompt[made.Prompt.LastIndexOf("Below is", StringComparison.Ordinal)..].Split('\n')[1];
        var counts = Regex.Matches(list, @"\d+\. (\S+)").CountBy(m => m.Groups[1].Value).ToDictionary();
        Assert.Equal(size + 10, counts.Count);
        Assert.Equal(made.References.Order(), counts.Where(c => c.Value == often).Select(c => c.Key).Order());
        Assert.All(counts.Where(c => !made.References.Contains(c.Key)), c => Assert.Equal(seldom, c.Value));
    }

    [Fact]
    public void Frequent_words_follow_zipfs_law()
    {
        // By hand: 1000 / zeta(2) = 607.9; a quarter, a ninth, a sixteenth of it.
        // The three that are asked for are told apart from the others at every size.
        for (var size = new RulerFrequentWordsTask().SmallestSize; size < 5000; size++)
            Assert.True(RulerFrequentWordsTask.Count(size, 4) > RulerFrequentWordsTask.Count(size, 5), $"{size}");
        Assert.Equal([607, 151, 67, 37, 24], Enumerable.Range(1, 5).Select(rank => RulerFrequentWordsTask.Count(1000, rank)));
        var made = Task("fwe").Make(7, 1000);
        var counts = made.Prompt.Split('\n')[0].Split(' ').CountBy(w => w).ToDictionary();
        Assert.Equal([607, 151, 67, 37], new[] { "..." }.Concat(made.References).Select(w => counts[w]));
    }

    [Fact]
    public void Sentences_end_where_the_next_begins()
    {
        Assert.Equal(
            ["Call me Ishmael.", "\"Why?\"", "\"I paid 3.50 for it!\"", "Some years ago - never mind how long."],
            RulerNeedleTask.SplitSentences("Call me  Ishmael. \"Why?\"\n\n\"I paid 3.50 for it!\" Some years ago - never mind how long.")
        );
    }

    [Fact]
    public void Run_leaves_room_for_the_answer_and_counts_shares()
    {
        var path = SharedMaterial.Golden("stories260K-hf");
        var tokenizer = TokenizerLoader.Load(path);
        var folder = CheckpointDirectory.Open(path);
        using var model = ModelLoader.Load(folder.Config, folder);
        var trial = Assert.Single(RetrievalEvaluation.Run(model, tokenizer, Task("fwe"), 512, 1, 42).Trials);
        Assert.InRange(trial.PromptTokens, 400, 512 - 50);
        Assert.InRange(trial.Score, 0, 1);
        var refused = Assert.Throws<ConfigurationException>(() =>
            RetrievalEvaluation.Run(model, tokenizer, Task("fwe"), 512, 1, 42, RetrievalScoring.Likelihood)
        );
        Assert.Contains("several things at once", refused.Message, StringComparison.Ordinal);
    }

    [GeneratedRegex(@"One of the special magic numbers for (?<key>\w+-\w+) is: \d{7}\.")]
    private static partial Regex Needle();
}
