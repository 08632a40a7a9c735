using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

public class PackingTests
{
    private const int No = TrainingExample.IgnoredLabel;

    // Lengths around the group of 8: shorter, equal, no multiple, long.
    private static readonly int[] s_lengths = [5, 8, 21, 1, 16, 13];

    private static long[] Ids(int seed, int length) =>
        [.. Enumerable.Range(0, length).Select(i => (long)((seed * 7919 + i * i * 31 + i) % 128))];

    private static long[] Labels(long[] ids) => [.. ids.Select((id, i) => i < ids.Length / 3 ? No : id)];

    private static Batch Row(IReadOnlyList<long[]> examples) =>
        new(
            [.. examples.SelectMany(e => e)],
            [.. examples.SelectMany(Labels)],
            1,
            examples.Sum(e => e.Length),
            [
                [.. examples.Select(e => e.Length)],
            ]
        )
        {
            Context = 32,
        };

    // Gradients of one step at learning rate 0, and its loss.
    private static (double Loss, Tensor Gradients) Gradients(IReadOnlyList<Batch> batches)
    {
        using var model = LlamaGoldenTests.LoadTiny();
        using var set = AdapterSet.Attach(model, new AdapterOptions { TrainEverything = true }, 3);
        using var parameters = new ParameterBuffer(set.Weights);
        // The first moment after one step from nothing is the gradient times 1 - beta.
        using var optimizer = new AdamW(parameters, new AdamWOptions(Beta1: 0, MaxGradNorm: 0));
        using var trainer = new Trainer(
            model,
            parameters,
            optimizer,
            new LearningRateSchedule(ScheduleKind.ConstantWithWarmup, 0, 1),
            new ShiftedSparseAttention(8),
            new CheckpointedPass(model),
            new TrainerOptions(1, 1, 0, 0)
        );
        var (loss, _) = trainer.Step(batches, 0)!.Value;
        return (loss, optimizer.FirstMoment.clone());
    }

    [Fact]
    public void Step_examples_in_one_row_learn_what_each_alone_teaches()
    {
        using var scope = NewDisposeScope();
        var examples = s_lengths.Select((length, i) => Ids(i + 1, length)).ToList();
        var packed = Gradients([Row(examples)]);
        var alone = Gradients([.. examples.Where(e => e.Length > 1).Select(e => new Batch(e, Labels(e), 1, e.Length) { Context = 32 })]);
        Assert.Equal(alone.Loss, packed.Loss, 1e-6);
        Near.AssertRelative(alone.Gradients, packed.Gradients, 1e-5);
        var other = Gradients([Row([.. examples.AsEnumerable().Reverse()])]);
        Near.AssertRelative(alone.Gradients, other.Gradients, 1e-5);
        // One row without boundaries is something else.
        var joined = Gradients([Row(examples) with { DocumentLengths = null, Context = 64 }]);
        Assert.True(Math.Abs(joined.Loss - alone.Loss) > 1e-3);
    }

    [Fact]
    public void Step_rows_of_a_batch_may_be_divided_each_in_its_own_way()
    {
        using var scope = NewDisposeScope();
        long[][] examples = [Ids(1, 10), Ids(2, 14), Ids(3, 17), Ids(4, 7)];
        Batch Two(IReadOnlyList<long[]> rows) =>
            new(
                [.. rows.SelectMany(e => e)],
                null,
                2,
                24,
                [
                    [10, 14],
                    [17, 7],
                ]
            );
        var together = Gradients([Two(examples)]);
        var alone = Gradients([.. examples.Select(e => new Batch(e, null, 1, e.Length) { Context = 24 })]);
        Assert.Equal(alone.Loss, together.Loss, 1e-6);
        Near.AssertRelative(alone.Gradients, together.Gradients, 1e-5);
    }
}
