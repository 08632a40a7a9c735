using LongLora.Checkpoints;
using LongLora.Distributed;
using LongLora.Evaluation;
using LongLora.Generation;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Tests.Evaluation;

/// <summary>Questions that several ranks share, each a thread with a model of its own, against one rank.</summary>
public class RetrievalRankTests
{
    private static readonly string s_path = SharedMaterial.Golden("stories260K-hf");

    private static CausalLanguageModel LoadModel()
    {
        var folder = CheckpointDirectory.Open(s_path);
        return ModelLoader.Load(folder.Config, folder);
    }

    public static TheoryData<int, int, string> Shares =>
        [
            .. from ranks in new[] { 2, 3, 5 }
            from trials in new[] { 1, 4, 7 }
            from scoring in Enum.GetNames<RetrievalScoring>()
            select (ranks, trials, scoring),
        ];

    [Theory]
    [MemberData(nameof(Shares))]
    public void Run_several_ranks_find_what_one_finds(int ranks, int trials, string scoring)
    {
        var (task, way, tokenizer) = (new PasskeyTask(), Enum.Parse<RetrievalScoring>(scoring), TokenizerLoader.Load(s_path));
        RetrievalAtLength Measure(ICommunicator? communicator, Counter counter)
        {
            using var model = LoadModel();
            return RetrievalEvaluation.Run(model, tokenizer, task, 700, trials, 3, way, counter, ranks: communicator);
        }
        var expected = Measure(null, new Counter());
        Assert.Equal(Enumerable.Range(3, trials), expected.Trials.Select(t => t.Seed));
        var found = ThreadCommunicator.Run(ranks, communicator =>
        {
            var counter = new Counter();
            var result = Measure(communicator, counter);
            Assert.Equal((trials - communicator.Rank + ranks - 1) / ranks, counter.Count);
            return result;
        });
        Assert.All(found, result => Assert.Equal(expected.Trials, result.Trials));
        Assert.All(found, result => Assert.Equal(expected.Length, result.Length));
    }

    [Fact]
    public void Ask_given_questions_keep_their_order()
    {
        var (task, tokenizer) = (new LinesTask(), TokenizerLoader.Load(s_path));
        RetrievalCase[] questions = [.. Enumerable.Range(0, 5).Select(i => task.Make(40 - i, 5 + i))];
        RetrievalAtLength Measure(ICommunicator? communicator)
        {
            using var model = LoadModel();
            return RetrievalEvaluation.Ask(model, tokenizer, task, questions, ranks: communicator);
        }
        var expected = Measure(null);
        foreach (var found in ThreadCommunicator.Run(3, Measure))
        {
            Assert.Equal(expected.Length, found.Length);
            Assert.Equal(expected.Trials, found.Trials);
        }
    }

    [Fact]
    public void Run_what_is_refused_is_refused_by_all_ranks()
    {
        using var model = LoadModel();
        var tokenizer = TokenizerLoader.Load(s_path);
        var ruler = RulerTask.CreateAll().First(t => t.Make(0, Math.Max(t.SmallestSize, 50)).Candidates.Count == 0);
        string Refuse(ICommunicator ranks, RetrievalTask task, int length) =>
            Assert
                .Throws<ConfigurationException>(() =>
                    RetrievalEvaluation.Run(model, tokenizer, task, length, 2, 0, RetrievalScoring.Likelihood, ranks: ranks)
                )
                .Message;
        // Two questions for three ranks: the third has none, and says the same.
        foreach (var (task, length, expected) in new[] { (new PasskeyTask(), 20, "too short"), ((RetrievalTask)ruler, 2000, "likelihood") })
        {
            var messages = ThreadCommunicator.Run(3, ranks => Refuse(ranks, task, length));
            Assert.Contains(expected, Assert.Single(messages.Distinct()), StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Run_that_one_rank_stops_ends_on_all()
    {
        var tokenizer = TokenizerLoader.Load(s_path);
        var answered = ThreadCommunicator.Run(3, ranks =>
        {
            using var model = LoadModel();
            using var source = new CancellationTokenSource();
            var counter = new Counter(() =>
            {
                if (ranks.Rank == 1)
                    source.Cancel();
            });
            Assert.ThrowsAny<OperationCanceledException>(() =>
                RetrievalEvaluation.Run(
                    model,
                    tokenizer,
                    new PasskeyTask(),
                    400,
                    9,
                    0,
                    progress: counter,
                    cancellation: source.Token,
                    ranks: ranks
                )
            );
            return counter.Count;
        });
        Assert.Equal([1, 1, 1], answered);
    }

    // The bits of an answer, not only its words.
    [Fact]
    public void Generator_that_takes_whole_chunks_computes_as_if_it_held_nothing()
    {
        using var model = LoadModel();
        var tokenizer = TokenizerLoader.Load(s_path);
        List<int> first = [.. tokenizer.Encode(string.Concat(Enumerable.Repeat("Tom saw a red ball. ", 60)), addSpecial: true)];
        var options = new GenerationOptions
        {
            MaxTokens = 12,
            PrefillChunk = 64,
            TopLogProbabilities = 2,
        };
        using var generator = new TextGenerator(model, tokenizer, 2048) { TakesWholeChunks = true };
        List<int> cut = [.. first.Take(64 * 3 + 40)],
            same = [.. first.Take(64 * 2 + 10), .. tokenizer.Encode("Lily had a cat.")];
        var answer = generator.Generate([cut], options)[0];
        // An answer goes over the end of a chunk: what was read token by token is read again.
        List<int> longer = [.. cut, .. tokenizer.Encode(answer.Text + string.Concat(Enumerable.Repeat(" He was happy.", 20)))];
        foreach (
            var (prompt, cached) in new[] { (longer, 3 * 64), (same, 2 * 64), (longer, 2 * 64), (longer, (longer.Count - 1) / 64 * 64) }
        )
        {
            using var fresh = new TextGenerator(model, tokenizer, 2048);
            var (expected, found) = (fresh.Generate([prompt], options)[0], generator.Generate([prompt], options)[0]);
            Assert.Equal(cached, found.CachedTokens);
            Assert.Equal(expected.Text, found.Text);
            Assert.Equal(expected.LogProbabilities!.Select(t => t.LogProbability), found.LogProbabilities!.Select(t => t.LogProbability));
        }
    }

    private sealed class Counter(Action? then = null) : IProgress<RetrievalTrial>
    {
        internal int Count { get; private set; }

        public void Report(RetrievalTrial value)
        {
            Count++;
            then?.Invoke();
        }
    }
}
