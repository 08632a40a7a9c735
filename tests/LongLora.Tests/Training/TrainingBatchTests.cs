using LongLora.Configs;
using LongLora.Data;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests.Models;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

public class TrainingBatchTests
{
    private const int No = TrainingExample.IgnoredLabel;

    private static long[] Count(int from, int count) => [.. Enumerable.Range(from, count).Select(i => (long)i)];

    private static long[] Targets(Batch batch)
    {
        using var targets = new TrainingBatch(batch).MakeTargets(CPU);
        return [.. targets.data<long>()];
    }

    [Fact]
    public void Targets_are_the_next_token_of_the_same_row() =>
        Assert.Equal([11, 12, No, 14, 15, No], Targets(new Batch(Count(10, 6), null, 2, 3)));

    [Fact]
    public void Targets_of_masked_labels_and_last_tokens_of_documents_are_left_out()
    {
        var batch = new Batch(
            Count(10, 8),
            [No, 11, 12, 13, No, 15, 16, 17],
            1,
            8,
            [
                [3, 5],
            ]
        );
        Assert.Equal([11, 12, No, No, 15, 16, 17, No], Targets(batch));
        Assert.Equal(5, new TrainingBatch(batch).CountTargets());
    }

    [Fact]
    public void Shorten_spreads_short_batches_evenly_by_their_number_alone()
    {
        var batch = new Batch(Count(0, 12), null, 1, 12);
        IEnumerable<int> Cut(double share, int first) =>
            Enumerable.Range(first, 8).Where(number => TrainingBatch.Shorten(batch, number, share, 4).Length == 4);
        Assert.Equal([3, 7], Cut(0.25, 0));
        Assert.Equal([11, 15], Cut(0.25, 8));
        Assert.Equal([1, 3, 5, 7], Cut(0.5, 0));
        Assert.Empty(Cut(0, 0));
        Assert.Equal(8, Cut(1, 0).Count());
        Assert.Same(batch, TrainingBatch.Shorten(batch, 1, 0.5, 12));
    }

    [Fact]
    public void Positions_begin_anew_in_each_document_and_short_ones_keep_the_original_ones()
    {
        using var scope = NewDisposeScope();
        var native = LlamaGoldenTests.TinyConfig.MaxPositions;
        var context = 4 * native;
        var config = LlamaGoldenTests.TinyConfig with { RopeScaling = RopeScalingConfig.None };
        using var model = ModelLoader.Create(RopeScaling.Extend(config, RopeScaling.ByLength, null, context), 1);
        using var tables = new PositionTables(model);
        var heads = ones([1, native + 8, 1, model.Config.HeadSize]);
        var batch = new Batch(
            Count(0, native + 8),
            null,
            1,
            native + 8,
            [
                [4, native + 4],
            ]
        )
        {
            Context = context,
        };
        using var positions = new TrainingBatch(batch).ChoosePositions(tables, CPU);
        var rotated = positions.Rotate(heads.clone());
        Tensor Expected(int length, int textLength)
        {
            using var table = RotaryEmbedding.Create(model.Config, textLength);
            return table.Narrow(0, length).Rotate(ones([1, length, 1, model.Config.HeadSize]));
        }
        Near.AssertEqual(Expected(4, native), rotated.narrow(1, 0, 4), 1e-6, "the short document");
        Near.AssertEqual(Expected(native + 4, context), rotated.narrow(1, 4, native + 4), 1e-6, "the long document");
        Assert.True((Expected(4, native) - Expected(4, context)).abs().max().item<float>() > 1e-3, "both would be the same");
    }
}
