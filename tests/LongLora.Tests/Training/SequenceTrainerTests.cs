using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>Training on ranks that share each text, against one rank.</summary>
public class SequenceTrainerTests
{
    private const int Steps = 4,
        Accumulation = 4,
        Context = 64;

    private sealed record Outcome(IReadOnlyList<TrainingStep> Log, Tensor Values, BatchSamplerState Place);

    private static Outcome Train(ICommunicator all, int ranksPerText, bool apart = false, double shortShare = 0, int rows = 1)
    {
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
        using var parameters = new ParameterBuffer(set.Weights);
        using var optimizer = new AdamW(parameters, new AdamWOptions(Epsilon: 1e-2));
        using var tokens = TokenStore.Build(new Examples(), null);
        var sampler = new BatchSampler(tokens, Context, rows, 5, layout: apart ? BatchLayout.Documents : BatchLayout.Stream);
        using var pass = new CheckpointedPass(model);
        var attention = new ShiftedSparseAttention(16);
        using var texts = all.Split(all.Rank / ranksPerText, all.Rank % ranksPerText);
        using var trainer = new Trainer(
            model,
            parameters,
            optimizer,
            new LearningRateSchedule(ScheduleKind.ConstantWithWarmup, 0, Steps),
            attention,
            pass,
            new TrainerOptions(Steps, Accumulation, 1e-2, 0, shortShare)
        )
        {
            Ranks = new TrainingRanks(all, ranksPerText),
            Texts = ranksPerText == 1 ? null : new TextRanks(texts, attention),
        };
        var log = new Log();
        trainer.Run(sampler, _ => { }, log);
        return new(log.Steps, parameters.Values.clone().DetachFromDisposeScope(), sampler.State);
    }

    [Theory]
    [InlineData(2, 2, false, 0, 1)]
    [InlineData(4, 4, false, 0, 1)]
    [InlineData(8, 8, false, 0, 1)]
    [InlineData(3, 3, true, 0, 1)]
    [InlineData(4, 2, true, 0, 1)]
    [InlineData(6, 3, false, 0.5, 1)]
    [InlineData(4, 4, false, 0.5, 2)]
    public void Losses_are_those_of_one_rank(int ranks, int perText, bool apart, double shortShare, int rows)
    {
        var one = Train(SingleProcess.Instance, 1, apart, shortShare, rows);
        Assert.All(one.Log, step => Assert.True(step.GradientNorm > 0, "nothing is learned"));
        var many = ThreadCommunicator.Run(ranks, communicator => Train(communicator, perText, apart, shortShare, rows));
        foreach (var rank in many)
        {
            Assert.Equal(one.Log.Select(s => s.Loss), rank.Log.Select(s => s.Loss), (a, b) => Math.Abs(a - b) <= 1e-4 * a);
            Assert.Equal(one.Log.Select(s => s.Tokens), rank.Log.Select(s => s.Tokens));
            Assert.Equal(one.Place, rank.Place);
            Near.AssertRelative(one.Values, rank.Values, 1e-4, "weights");
            Assert.True(many[0].Values.equal(rank.Values).all().item<bool>(), "the ranks part");
        }
    }

    // Documents of many lengths, some longer than a row.
    private sealed class Examples : IExampleSource
    {
        public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default) =>
            Enumerable
                .Range(0, 24)
                .Select(d =>
                {
                    int[] ids = [.. Enumerable.Range(0, 5 + d * 37 % 90).Select(i => (d * 7919 + i * i * 31 + i) % 128)];
                    return new TrainingExample(ids, null, $"document {d}");
                });
    }

    private sealed class Log : IProgress<TrainingStep>
    {
        public List<TrainingStep> Steps { get; } = [];

        public void Report(TrainingStep value) => Steps.Add(value);
    }
}
