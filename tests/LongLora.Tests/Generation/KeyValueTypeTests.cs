using LongLora.Models;
using LongLora.Positions;
using LongLora.Tests.Models;
using static TorchSharp.torch;

namespace LongLora.Tests.Generation;

public class KeyValueTypeTests
{
    private static (Tensor Hidden, long Bytes) Read(CausalLanguageModel model, KeyValueType? type)
    {
        using var scope = NewDisposeScope();
        var random = new Random(1);
        long[] ids = [.. Enumerable.Range(0, 44).Select(_ => random.NextInt64(128))];
        using var positions = RotaryEmbedding.Create(model.Config, 48);
        using var cache = new KeyValueCache(model, 48, 1, type);
        var parts = new List<Tensor>
        {
            CachedPass.Read(model, ids.AsSpan(0, 20), cache, 0, positions),
            CachedPass.Read(model, ids.AsSpan(20, 20), cache, 0, positions),
        };
        for (var i = 40; i < 44; i++)
            parts.Add(CachedPass.Step(model, ids.AsSpan(i, 1), cache, [0], positions));
        return (cat(parts, 0).MoveToOuterDisposeScope(), cache.ByteCount);
    }

    [Fact]
    public void F32_is_the_type_of_the_cpu()
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        var (expected, bytes) = Read(model, null);
        var (found, same) = Read(model, KeyValueType.F32);
        Near.AssertEqual(expected, found, 0);
        Assert.Equal(bytes, same);
    }

    [Theory]
    [InlineData(KeyValueType.BF16, 0.5, 0.02)]
    [InlineData(KeyValueType.Int8, 0.25 * (1 + 4.0 / 16), 0.04)]
    public void Fewer_bits_take_less_memory_and_stay_near(KeyValueType type, double share, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        var (expected, bytes) = Read(model, null);
        var (found, less) = Read(model, type);
        Assert.Equal(share, (double)less / bytes, 1e-9);
        Near.AssertRelative(expected, found, tolerance, type.ToString());
        Assert.True(Near.Difference(expected, found) > 1e-4);
    }

    [Theory]
    [InlineData(KeyValueType.BF16)]
    [InlineData(KeyValueType.Int8)]
    public void Heads_come_back_rounded_as_the_type_says(KeyValueType type)
    {
        using var scope = NewDisposeScope();
        using var model = LlamaGoldenTests.LoadTiny();
        using var heads = new CachedHeads(model, 0, 10, 2, type);
        using var generator = new Generator(3, CPU);
        var values = randn([1, 2, 6, 16], generator: generator) * exp(randn([1, 2, 6, 1], generator: generator) * 4);
        values.narrow(2, 2, 1).zero_();
        heads.Write(1, 3, values);
        var found = heads.Read(1, 3, 6);
        Assert.Equal(0, found.narrow(2, 2, 1).abs().max().item<float>());
        var (from, back) = (values.data<float>().ToArray(), found.data<float>().ToArray());
        for (var head = 0; head < from.Length; head += 16)
        {
            var largest = from.AsSpan(head, 16).ToArray().Max(Math.Abs);
            for (var i = head; i < head + 16; i++)
            {
                // Half a step: of 8 bits of precision, or of 127 steps to the largest.
                var half = type == KeyValueType.BF16 ? Math.Abs(from[i]) / 256 : largest / 254;
                Assert.InRange(Math.Abs(from[i] - back[i]), 0, half * 1.00001);
            }
        }
    }
}
