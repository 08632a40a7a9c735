using LongLora.Attention;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Models;
using static TorchSharp.torch;

namespace LongLora.Tests.Generation;

public class CachedPassTests
{
    private const int Length = 40;

    private static long[] Ids(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextInt64(128))];
    }

    // What the model computes without a cache.
    private static Tensor Plain(CausalLanguageModel model, long[] ids, RotaryEmbedding positions) =>
        model.Forward(tensor(ids, [1, ids.Length]), new ForwardContext(new FullAttention(), positions.Narrow(0, ids.Length))).squeeze(0);

    public static TheoryData<string> Scalings => ["default", "linear", "dynamic", "yarn", "llama3"];

    [Theory]
    [MemberData(nameof(Scalings))]
    public void Read_in_any_chunks_equals_the_pass_without_cache(string scaling)
    {
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(
            RopeScaling.Extend(LlamaGoldenTests.TinyConfig with { RopeScaling = RopeScalingConfig.None }, scaling, 2, 64),
            5
        );
        using var positions = RotaryEmbedding.Create(model.Config, 48);
        var ids = Ids(Length, 1);
        var plain = Plain(model, ids, positions);
        foreach (var chunks in new int[][] { [40], [39, 1], [1, 39], [7, 20, 13], [.. Enumerable.Repeat(1, 40)] })
        {
            using var cache = new KeyValueCache(model, 48);
            var (start, parts) = (0, new List<Tensor>());
            foreach (var count in chunks)
            {
                parts.Add(CachedPass.Read(model, ids.AsSpan(start, count), cache, 0, positions));
                start += count;
            }
            Near.AssertRelative(plain, cat(parts, 0), 1e-5, $"{scaling} in {string.Join(", ", chunks)}");
        }
    }

    [Fact]
    public void Step_of_rows_with_different_lengths_equals_each_alone()
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        using var positions = RotaryEmbedding.Create(model.Config, 48);
        long[][] texts = [Ids(31, 1), Ids(5, 2), Ids(18, 3)];
        using var cache = new KeyValueCache(model, 48, 3);
        for (var row = 0; row < 3; row++)
            CachedPass.Read(model, texts[row].AsSpan(0, texts[row].Length - 2), cache, row, positions);
        // Two steps, the second without the middle row.
        var first = CachedPass.Step(model, [texts[0][^2], texts[1][^2], texts[2][^2]], cache, [0, 1, 2], positions);
        var second = CachedPass.Step(model, [texts[0][^1], texts[2][^1]], cache, [0, 2], positions);
        for (var row = 0; row < 3; row++)
            Near.AssertRelative(Plain(model, texts[row][..^1], positions)[^1], first[row], 1e-5, $"row {row}");
        Near.AssertRelative(Plain(model, texts[0], positions)[^1], second[0], 1e-5);
        Near.AssertRelative(Plain(model, texts[2], positions)[^1], second[1], 1e-5);
        Assert.Equal([31, 4, 18], Enumerable.Range(0, 3).Select(cache.GetLength));
    }

    [Fact]
    public void Truncate_goes_back_to_an_earlier_text()
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        using var positions = RotaryEmbedding.Create(model.Config, 48);
        using var cache = new KeyValueCache(model, 48);
        var (ids, other) = (Ids(30, 1), Ids(30, 2));
        CachedPass.Read(model, ids, cache, 0, positions);
        cache.Truncate(0, 11);
        var result = CachedPass.Read(model, other.AsSpan(11), cache, 0, positions);
        Near.AssertRelative(Plain(model, [.. ids[..11], .. other[11..]], positions).narrow(0, 11, 19), result, 1e-5);
        Assert.Throws<ShapeException>(() => cache.Truncate(0, 31));
        Assert.Throws<ShapeException>(() => CachedPass.Read(model, Ids(19, 3), cache, 0, positions));
    }

    [Fact]
    public void Step_leaves_no_tensors_behind()
    {
        using var model = LlamaGoldenTests.LoadTiny();
        using var positions = RotaryEmbedding.Create(model.Config, 300);
        using var cache = new KeyValueCache(model, 300, 2);
        for (var row = 0; row < 2; row++)
            CachedPass.Read(model, Ids(5 + row, row), cache, row, positions).Dispose();
        static long Live() => TorchSharp.DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        CachedPass.Step(model, [1, 2], cache, [0, 1], positions).Dispose();
        var before = Live();
        for (var i = 0; i < 200; i++)
            CachedPass.Step(model, [1, 2], cache, [0, 1], positions).Dispose();
        Assert.Equal(before, Live());
    }
}
