using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>Models on several ranks, each with a part of the text, against one rank.</summary>
public sealed class TextRanksTests : IDisposable
{
    private const int Group = 16,
        MinVocabulary = 128;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Families { get; } =
    [.. FamilyContractTests.Families.Select(row => row.Data).Where(family => !family.StartsWith("qwen3_5", StringComparison.Ordinal))];

    // What a rank gets from a batch: hidden states and gradients of the embeddings of its tokens, the gradients of all weights, the loss.
    private sealed record Outcome(Tensor? Hidden, Tensor? Inputs, Tensor Weights, double Loss, long SentBytes);

    private static Outcome Run(string path, Batch batch, IAttention attention, ICommunicator? ranks, int blocksPerSegment, long keptBytes)
    {
        var folder = CheckpointDirectory.Open(path);
        using var model = ModelLoader.Load(folder.Config, folder);
        if (folder.Config.VocabularySize < MinVocabulary)
            model.ResizeVocabulary(MinVocabulary);
        model.UntieHead(); // rows of its gradient are sums over all tokens
        using var set = AdapterSet.Attach(model, new AdapterOptions { Rank = 4 }, 3);
        using var generator = new Generator(8, CPU);
        using (no_grad())
        {
            foreach (var adapter in set.Adapters.Values)
                adapter.B.Value.add_(randn([.. adapter.B.Shape], generator: generator).mul_(0.05));
        }
        using var parameters = new ParameterBuffer(set.Weights);
        using var pass = new CheckpointedPass(model, blocksPerSegment, keptBytes: keptBytes);
        using var tables = new PositionTables(model);
        var prepared = new TrainingBatch(batch);
        var texts = ranks is null ? null : new TextRanks(ranks, attention);
        var part = texts?.Divide(prepared, CPU);
        var weights = parameters.Gradients;
        if (part?.Tokens.Length == 0)
            return new(null, null, weights.clone(), 0, 0);
        var (ids, targets) = (prepared.MakeIds(CPU, part?.Tokens), prepared.MakeTargets(CPU, part?.Tokens));
        using var positions = prepared.ChoosePositions(tables, CPU, part?.Tokens);
        var context = part?.MakeContext(positions) ?? new ForwardContext(attention, positions, batch.DocumentLengths);
        using var sameProducts = RowProduct.Stop(); // as in the pass
        var hidden = model.Forward(ids, context);
        var loss = pass.ForwardBackward(ids, targets, context, 1.0 / prepared.CountTargets()).item<double>();
        var (_, offset, shape) = parameters.Layout.First(l => l.Name == model.Embedding.Weight.Name);
        // Each token stands once in the batch, so its row is the gradient of its embedding.
        var inputs = weights.narrow(0, offset, shape[0] * shape[1]).view(shape[0], shape[1]).index_select(0, ids.flatten());
        return new(hidden.flatten(0, 1), inputs, weights.clone(), loss, texts?.SentBytes ?? 0);
    }

    private static Batch MakeBatch(int[][] rows, int vocabulary)
    {
        var (length, random) = (rows[0].Sum(), new Random(5));
        var ids = Enumerable.Range(0, vocabulary).Select(i => (long)i).ToArray();
        random.Shuffle(ids);
        ids = ids[..(rows.Length * length)];
        return new(ids, null, rows.Length, length, rows.Any(r => r.Length > 1) ? rows : null);
    }

    // The processor computes the last elements of a tensor one by one, and then exponentials in other ways, if they fill no vector. The
    // widths of models in use fill vectors; those of some tiny ones do not, and there the last bits may differ.
    private static double GetTolerance(ModelConfig config, SequencePlan plan)
    {
        const int vector = 32;
        var lengths = plan.Borders.Zip(plan.Borders.Skip(1), (start, end) => end - start);
        var fills = lengths.All(length => length * config.IntermediateSize % vector == 0) && (config.Experts?.Size ?? 0) % vector == 0;
        return fills ? 0 : 4e-6;
    }

    private static void Check(string path, int[][] rows, int ranks, IAttention? attention = null, int blocksPerSegment = 1)
    {
        using var scope = NewDisposeScope();
        attention ??= new ShiftedSparseAttention(Group);
        ModelConfig config;
        using (var folder = CheckpointDirectory.Open(path))
            config = folder.Config;
        var batch = MakeBatch(rows, Math.Max(config.VocabularySize, MinVocabulary));
        var one = Run(path, batch, attention, null, blocksPerSegment, keptBytes: 0);
        // One of the ranks keeps all activations, and another one none.
        var parts = ThreadCommunicator.Run(ranks, communicator =>
            Run(path, batch, attention, communicator, blocksPerSegment, communicator.Rank % 2 == 0 ? long.MaxValue : 0)
        );
        var plan = SequencePlan.Make(attention, rows, ranks);
        var tolerance = GetTolerance(config, plan);
        var what = $"{config.ModelType} of {string.Join(" / ", rows.Select(r => string.Join('+', r)))} on {ranks} ranks";
        AssertBits(one.Hidden!, parts.Select(p => p.Hidden), tolerance, $"hidden states of {what}");
        AssertBits(one.Inputs!, parts.Select(p => p.Inputs), tolerance, $"gradients of inputs of {what}");
        Assert.Equal(one.Loss, parts.Sum(p => p.Loss), 1e-9 * one.Loss + tolerance * one.Loss);
        var sum = parts.Select(p => p.Weights).Aggregate((a, b) => a + b);
        var relative = ((sum - one.Weights).norm() / one.Weights.norm()).item<float>();
        // Gemma 4's tiny model makes much of any rounding (FamilyContractTests).
        Assert.True(
            relative < (config.ModelType.StartsWith("gemma4", StringComparison.Ordinal) ? 5e-6 : 1e-6),
            $"gradients of weights of {what} differ by {relative}"
        );

        long Count(int blocks) =>
            Enumerable
                .Range(1, ranks - 1)
                .Where(rank => plan.Borders[rank] < plan.Borders[ranks])
                .Sum(rank => BorderTraffic.Count(config, plan.FindDivided(rank), 4, withLogSumExps: true, blocks).Total);
        // Run runs one more forward pass, for the hidden states.
        Assert.Equal(Count(blocksPerSegment) + Count(2) - Count(1), parts.Sum(p => p.SentBytes));
    }

    private static void AssertBits(Tensor expected, IEnumerable<Tensor?> parts, double tolerance, string what)
    {
        var difference = (cat([.. parts.OfType<Tensor>()], 0) - expected).abs().max().item<float>();
        Assert.True(difference <= tolerance * expected.abs().max().item<float>(), $"{what} differ by {difference}");
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Every_family_has_the_bits_of_one_rank(string family)
    {
        var path = FamilyContractTests.Locate(_folder, family);
        foreach (var ranks in new[] { 2, 3, 4, 8 })
            Check(
                path,
                [
                    [80],
                ],
                ranks
            );
        Check(
            path,
            [
                [77],
            ],
            3
        );
        Check(
            path,
            [
                [30, 1, 33, 16],
            ],
            3
        );
        Check(
            path,
            [
                [40],
                [40],
            ],
            2
        );
        Check(
            path,
            [
                [80],
            ],
            3,
            blocksPerSegment: 2
        );
    }

    // Long enough that one rank processes the heads in several steps; a part alone would take them all at once.
    [Fact]
    public void Long_text_has_the_bits_of_one_rank()
    {
        const int length = 4096,
            vocabulary = 4096;
        var config = new ModelConfig
        {
            ModelType = "llama",
            HiddenSize = 64,
            IntermediateSize = 128,
            LayerCount = 1,
            HeadCount = 32,
            KeyValueHeadCount = 8,
            HeadSize = 32,
            VocabularySize = vocabulary,
            MaxPositions = length,
        };
        Assert.True(BlockPass.CountGroupsAtOnce(length, 1024, 8, onGpu: false) < 8);
        Assert.NotEqual(BlockPass.CountGroupsAtOnce(length, 1024, 8, false), BlockPass.CountGroupsAtOnce(length / 4, 1024, 8, false));
        using (var model = ModelLoader.Create(config, 7))
            WriteModel(model);
        Check(
            _folder["long"],
            [
                [length],
            ],
            4,
            new ShiftedSparseAttention(512)
        );
        Check(
            _folder["long"],
            [
                [1500, 9, 2000, 587],
            ],
            3,
            new ShiftedSparseAttention(512)
        );
    }

    private void WriteModel(CausalLanguageModel model)
    {
        Directory.CreateDirectory(_folder["long"]);
        SafetensorsWriter.WriteModel(_folder["long"], [.. model.Weights.Select(w => TensorToWrite.Of(w.Name, w.Value))]);
        File.WriteAllText(Path.Combine(_folder["long"], "config.json"), ModelConfigWriter.Create(model.Config));
    }

    [Fact]
    public void Check_recurrent_layers_full_attention_and_too_many_ranks_are_refused_by_name()
    {
        string Refuse(string family, IAttention attention, int ranks)
        {
            using var folder = CheckpointDirectory.Open(FamilyContractTests.Locate(_folder, family));
            using var model = ModelLoader.Describe(folder.Config);
            TextRanks.Check(model, attention, 96, 1);
            return Assert.Throws<ConfigurationException>(() => TextRanks.Check(model, attention, 96, ranks)).Message;
        }
        Assert.Contains("qwen3_5", Refuse("qwen3_5", new ShiftedSparseAttention(Group), 2), StringComparison.Ordinal);
        Assert.Contains("attention is full", Refuse("llama_tiny", new FullAttention(), 2), StringComparison.Ordinal);
        var many = Refuse("llama_tiny", new ShiftedSparseAttention(Group), 13);
        foreach (
            var part in new[] { "sequence-parallel is 13", "96 tokens", "groups of 16", "12 ranks at most", "group-size to at most 14" }
        )
            Assert.Contains(part, many, StringComparison.Ordinal);
        // What it says holds.
        Assert.Null(TextRanks.FindProblem(new ShiftedSparseAttention(14), 96, 13));
        Assert.Null(TextRanks.FindProblem(new ShiftedSparseAttention(Group), 96, 12));
    }

    // Every length above a group and number of ranks up to the limit that the documentation gives.
    [Fact]
    public void FindProblem_up_to_two_ranks_a_group_has_none()
    {
        for (var length = 9; length < 400; length += 7)
        {
            for (var ranks = 2; ranks <= 2 * length / 8; ranks++)
                Assert.Null(TextRanks.FindProblem(new ShiftedSparseAttention(8), length, ranks));
        }
    }
}
