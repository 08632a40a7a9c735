using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Tests.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Evaluation;

/// <summary>Windows that several ranks share, each with a part, against one rank that has the whole.</summary>
public sealed class WindowLossesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Families { get; } =
    [.. FamilyContractTests.Families.Select(row => row.Data).Where(family => !family.StartsWith("qwen3_5", StringComparison.Ordinal))];

    private static CausalLanguageModel Load(string path)
    {
        var folder = CheckpointDirectory.Open(path);
        return ModelLoader.Load(folder.Config, folder);
    }

    private static long[] MakeWindow(int length, int vocabulary)
    {
        var random = new Random(length);
        return [.. Enumerable.Range(0, length).Select(_ => (long)random.Next(vocabulary))];
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Every_family_has_the_hidden_states_and_losses_of_one_rank(string family)
    {
        var path = FamilyContractTests.Locate(_folder, family);
        // The tiny Gemma 4 makes more of any rounding than the others.
        var tolerance = family.StartsWith("gemma4", StringComparison.Ordinal) ? 1e-4 : 1e-5;
        foreach (var (ranks, length) in new[] { (2, 80), (3, 77), (4, 80), (8, 16), (8, 83) })
        {
            using var scope = NewDisposeScope();
            using var model = Load(path);
            var window = MakeWindow(length, model.Config.VocabularySize);
            using var positions = RotaryEmbedding.Create(model.Config, length);
            var expected = model.Forward(tensor(window, [1, length]), new ForwardContext(new FullAttention(), positions));
            using var alone = new WindowLosses(model, new FullAttention(), SingleProcess.Instance);
            var losses = alone.Compute(window);
            var plan = new RingPlan(length, ranks);
            var parts = ThreadCommunicator.Run(ranks, own =>
            {
                using var ownModel = Load(path);
                int[] tokens = [.. plan.GetChunks(own.Rank).SelectMany(chunk => Enumerable.Range(chunk.Start, chunk.Count))];
                using var ownPositions = positions.At(tensor(tokens.Select(token => (long)token).ToArray()));
                var ids = tensor(tokens.Select(token => window[token]).ToArray(), [1, tokens.Length]);
                var hidden = ownModel.Forward(
                    ids,
                    new ForwardContext(new RingAttention(plan, own), ownPositions) { TokensForHeads = plan.Longest }
                );
                using var ofRanks = new WindowLosses(ownModel, new FullAttention(), own);
                return (Tokens: tokens, Hidden: hidden, Losses: ofRanks.Compute(window));
            });
            var what = $"{model.Config.ModelType} of {length} tokens on {ranks} ranks";
            foreach (var part in parts)
            {
                var own = expected.index_select(1, tensor(part.Tokens.Select(token => (long)token).ToArray()));
                Near.AssertRelative(own, part.Hidden, tolerance, $"hidden states of {what}");
                Assert.Equal(parts[0].Losses, part.Losses);
                Assert.All(losses.Zip(part.Losses), pair => Assert.Equal(pair.First, pair.Second, tolerance * (1 + pair.First)));
                AssertPerplexity(losses.Average(), part.Losses.Average(), tolerance / 5);
            }
        }
    }

    private static void AssertPerplexity(double expected, double found, double tolerance = 1e-6) =>
        Assert.InRange(Math.Abs(Math.Exp(found - expected) - 1), 0, tolerance);

    [Theory]
    [InlineData(2, 2, PerplexityProtocol.LongLora)]
    [InlineData(4, 2, PerplexityProtocol.LongLora)]
    [InlineData(3, 3, PerplexityProtocol.Document)]
    [InlineData(6, 2, PerplexityProtocol.Document)]
    [InlineData(8, 8, PerplexityProtocol.Document)]
    public void Evaluate_groups_of_ranks_find_what_one_finds(int ranks, int parts, PerplexityProtocol protocol)
    {
        int[] book = [.. Enumerable.Range(0, 1500).Select(i => i * i * 7 % 500 + 3)];
        // Documents of which some are too short for the ranks, and of which one has no token to score.
        int[][] documents = [book[..900], book[900..902], book[902..903], book[903..910], book[910..]];
        PerplexityResult Measure(ICommunicator own, int share)
        {
            using var model = FineTuneGoldenTests.LoadStories();
            using var tokens = TokenStore.Build(new FineTuneGoldenTests.MemorySource(documents), 2);
            return Perplexity.Evaluate(model, tokens, 201, protocol, null, null, own, share, null, default);
        }
        var expected = Measure(SingleProcess.Instance, 1);
        var results = ThreadCommunicator.Run(ranks, own => Measure(own, parts), TimeSpan.FromMinutes(4));
        foreach (var found in results)
        {
            Assert.Equal(expected.Tokens, found.Tokens);
            AssertPerplexity(expected.Loss, found.Loss);
            Assert.Equal(expected.ByPosition.Select(bin => bin.Tokens), found.ByPosition.Select(bin => bin.Tokens));
            Assert.All(expected.ByPosition.Zip(found.ByPosition), pair => Assert.Equal(pair.First.Loss, pair.Second.Loss, 1e-5));
            Assert.Equal(results[0].Loss, found.Loss);
        }
    }

    // Frequencies that depend on the length of the text are those of the window, not of the part.
    [Theory]
    [InlineData("dynamic")]
    [InlineData("linear")]
    [InlineData("yarn")]
    public void Positions_are_those_of_the_whole_window(string kind)
    {
        CausalLanguageModel LoadScaled() =>
            FineTuneGoldenTests.LoadStories(config =>
                config with
                {
                    RopeScaling = new() { Kind = kind, Factor = 4 },
                    MaxPositions = 128,
                }
            );
        using var model = LoadScaled();
        var window = MakeWindow(301, model.Config.VocabularySize);
        using var alone = new WindowLosses(model, new FullAttention(), SingleProcess.Instance);
        var expected = alone.Compute(window);
        var found = ThreadCommunicator.Run(3, own =>
        {
            using var ownModel = LoadScaled();
            using var losses = new WindowLosses(ownModel, new FullAttention(), own);
            // Another length in between: its tables are not these.
            _ = losses.Compute(window[..50]);
            _ = losses.Compute(window[..4]);
            return losses.Compute(window);
        });
        Assert.All(found, losses => Assert.All(expected.Zip(losses), pair => Assert.Equal(pair.First, pair.Second, 1e-4)));
        AssertPerplexity(expected.Average(), found[0].Average());
    }

    [Fact]
    public void Evaluate_what_cannot_be_divided_is_refused()
    {
        using var model = FineTuneGoldenTests.LoadStories();
        using var recurrent = Load(FamilyContractTests.Locate(_folder, "qwen3_5"));
        using var tokens = FineTuneGoldenTests.Book();
        string Refuse(CausalLanguageModel asked, int parts, IAttention? attention) =>
            Assert
                .Throws<ConfigurationException>(() =>
                    Perplexity.Evaluate(
                        asked,
                        tokens,
                        16,
                        PerplexityProtocol.LongLora,
                        null,
                        attention,
                        SingleProcess.Instance,
                        parts,
                        null,
                        default
                    )
                )
                .Message;
        Assert.Contains("sequence-parallel is 0; it must be at least 1", Refuse(model, 0, null), StringComparison.Ordinal);
        Assert.Contains("Start 2 ranks", Refuse(model, 2, null), StringComparison.Ordinal);
        var messages = ThreadCommunicator.Run(2, ranks =>
            new[] { (recurrent, (IAttention?)null), (model, new ShiftedSparseAttention(8)) }
                .Select(asked =>
                    Assert
                        .Throws<ConfigurationException>(() =>
                            Perplexity.Evaluate(
                                asked.Item1,
                                tokens,
                                16,
                                PerplexityProtocol.LongLora,
                                null,
                                asked.Item2,
                                ranks,
                                2,
                                null,
                                default
                            )
                        )
                        .Message
                )
                .ToList()
        );
        Assert.All(messages, told => Assert.Contains("layers of qwen3_5", told[0], StringComparison.Ordinal));
        Assert.All(messages, told => Assert.Contains("only full attention", told[1], StringComparison.Ordinal));
    }
}
