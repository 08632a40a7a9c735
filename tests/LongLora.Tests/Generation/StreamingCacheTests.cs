using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tests.Models;
using static TorchSharp.torch;

namespace LongLora.Tests.Generation;

public class StreamingCacheTests
{
    private const int Length = 60;

    private static long[] Ids(int vocabulary, int count = Length, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextInt64(vocabulary))];
    }

    private static CausalLanguageModel Load(string family)
    {
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden(family));
        return ModelLoader.Load(folder.Config, folder);
    }

    // From the definition: every token for itself, keys as they are before positions, turned by their place in the list of what is seen.
    private static Tensor Slow(CausalLanguageModel model, long[] ids, int sinks, int window)
    {
        using var noGradient = no_grad();
        using var unturned = RotaryEmbedding.Create(model.Config with { RopeScaling = RopeScalingConfig.None }, 1);
        using var turns = RotaryEmbedding.Create(model.Config, sinks + window);
        var (keys, values) = (model.Blocks.Select(_ => new List<Tensor>()).ToList(), model.Blocks.Select(_ => new List<Tensor>()).ToList());
        var rows = new List<Tensor>();
        for (var t = 0; t < ids.Length; t++)
        {
            var seen = Enumerable.Range(0, t + 1).Where(i => i < sinks || i > t - window).ToList();
            var hidden = model.Embedding.Forward(tensor([ids[t]], [1, 1]), ScalarType.Float32);
            for (var layer = 0; layer < model.Blocks.Count; layer++)
            {
                var block = model.Blocks[layer];
                var (query, key, value, _) = block.Project(
                    block.AttentionNorm.Forward(hidden),
                    0,
                    block.HeadGroups,
                    new(new LongLora.Attention.FullAttention(), unturned)
                );
                keys[layer].Add(key);
                values[layer].Add(value);
                Tensor Turned(Tensor heads, int place) => turns.Narrow(place, 1).Rotate(heads.transpose(1, 2)).transpose(1, 2);
                var repeats = query.size(1) / key.size(1);
                Tensor All(IEnumerable<Tensor> heads) => cat([.. heads], 2).repeat_interleave(repeats, 1);
                var scores =
                    Turned(query, seen.Count - 1).matmul(All(seen.Select((i, place) => Turned(keys[layer][i], place))).transpose(2, 3))
                    / Math.Sqrt(query.size(3));
                var output = block.AttentionOutput.Forward(
                    scores.softmax(-1).matmul(All(seen.Select(i => values[layer][i]))).transpose(1, 2).flatten(2, 3)
                );
                var mlp = block.Mlp.Forward(block.MlpNorm.Forward(block.IsParallel ? hidden : hidden + output));
                hidden = hidden + output + mlp;
            }
            rows.Add(model.FinalNorm.Forward(hidden)[0]);
        }
        return cat([.. rows], 0);
    }

    private static Tensor Read(CausalLanguageModel model, long[] ids, StreamingCache cache, params int[] chunks)
    {
        var (start, parts) = (0, new List<Tensor>());
        for (var i = 0; start < ids.Length; i++)
        {
            var count = Math.Min(chunks[i % chunks.Length], ids.Length - start);
            parts.Add(CachedPass.Read(model, ids.AsSpan(start, count), cache));
            start += count;
        }
        return cat(parts, 0);
    }

    [Theory]
    [InlineData("llama_tiny", 4, 12)]
    [InlineData("llama_tiny", 0, 7)]
    [InlineData("llama_tiny", 3, 1)]
    [InlineData("qwen3_tiny", 4, 12)]
    [InlineData("neox_tiny", 2, 10)]
    [InlineData("neox_serial_tiny", 5, 9)]
    public void Read_in_any_chunks_equals_places_written_down(string family, int sinks, int window)
    {
        using var scope = NewDisposeScope();
        using var model = Load(family);
        var ids = Ids(model.Config.VocabularySize);
        var slow = Slow(model, ids, sinks, window);
        foreach (var chunks in new int[][] { [1], [60], [2, 1, 5], [1, 1, 1, 13, 1], [3] })
        {
            using var cache = new StreamingCache(model, new StreamingOptions { SinkTokens = sinks, Window = window });
            Near.AssertRelative(slow, Read(model, ids, cache, chunks), 1e-5, $"{family} in chunks of {string.Join(", ", chunks)}");
            Assert.Equal(Length, cache.Length);
        }
    }

    [Theory]
    [InlineData("linear")]
    [InlineData("dynamic")]
    [InlineData("yarn")]
    [InlineData("llama3")]
    public void Read_under_each_scaling_equals_the_whole_text_while_it_fits(string scaling)
    {
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(
            RopeScaling.Extend(LlamaGoldenTests.TinyConfig with { RopeScaling = RopeScalingConfig.None }, scaling, 2, 64),
            5
        );
        var context = RopeScaling.GetCurrentContext(model.Config); // 64; 32 where the scaling begins beyond it
        var ids = Ids(128, Math.Min(Length, context));
        using var positions = RotaryEmbedding.Create(model.Config, context);
        using var whole = new KeyValueCache(model, context);
        var expected = CachedPass.Read(model, ids, whole, 0, positions);
        foreach (var chunk in new[] { 1, 25 })
        {
            using var cache = new StreamingCache(model, new StreamingOptions { SinkTokens = 4, Window = context - 4 });
            Near.AssertRelative(expected, Read(model, ids, cache, chunk), 1e-5, $"{scaling} in chunks of {chunk}");
        }
    }

    [Fact]
    public void Read_far_into_a_text_equals_a_text_that_begins_right_before_it()
    {
        // Without sinks, and one layer, what lies before the window leaves no trace, however far the text has come.
        using var scope = NewDisposeScope();
        using var model = ModelLoader.Create(LlamaGoldenTests.TinyConfig with { LayerCount = 1 }, 5);
        var ids = Ids(128, 50_000);
        var options = new StreamingOptions { SinkTokens = 0, Window = 32 };
        using StreamingCache far = new(model, options),
            near = new(model, options);
        CachedPass.Read(model, ids.AsSpan(0, 49_990), far);
        CachedPass.Read(model, ids.AsSpan(49_900, 90), near);
        for (var i = 49_990; i < 50_000; i++)
            Near.AssertRelative(
                CachedPass.Read(model, ids.AsSpan(i, 1), near),
                CachedPass.Read(model, ids.AsSpan(i, 1), far),
                1e-4,
                $"token {i}"
            );
    }

    [Fact]
    public void Truncate_goes_back_while_nothing_is_forgotten_and_says_when_it_cannot()
    {
        using var scope = NewDisposeScope();
        using var model = Load("llama_tiny");
        var options = new StreamingOptions { SinkTokens = 4, Window = 20 };
        using StreamingCache cache = new(model, options),
            fresh = new(model, options);
        var (ids, other) = (Ids(128), Ids(128, seed: 2));
        Read(model, ids[..24], cache, 7);
        Assert.True(cache.TryTruncate(2));
        long[] text = [.. ids[..2], .. other[..40]];
        Near.AssertRelative(Read(model, text, fresh, 5)[^1], Read(model, other[..40], cache, 1)[^1], 1e-5);
        Assert.False(cache.TryTruncate(10));
        Assert.True(cache.TryTruncate(42));
        cache.Clear();
        using var again = new StreamingCache(model, options);
        Near.AssertRelative(Read(model, ids, again, 1), Read(model, ids, cache, 1), 0);
    }

    [Fact]
    public void Memory_and_live_tensors_stay_as_they_are()
    {
        static long Live() => TorchSharp.DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        using var model = Load("llama_tiny");
        using var cache = new StreamingCache(model, new StreamingOptions { SinkTokens = 4, Window = 12 });
        var ids = Ids(128, 500);
        CachedPass.Read(model, ids.AsSpan(0, 13), cache).Dispose();
        var (before, bytes) = (Live(), cache.ByteCount);
        for (var i = 13; i < 400; i++)
            CachedPass.Read(model, ids.AsSpan(i, 1), cache).Dispose();
        CachedPass.Read(model, ids.AsSpan(400), cache).Dispose();
        Assert.Equal((before, bytes), (Live(), cache.ByteCount));
        // blocks, keys and values, heads, places, head size; sinks
        Assert.Equal(2L * 2 * 2 * 16 * 16 * sizeof(float) + 2L * 2 * 4 * 16 * sizeof(float), bytes);
    }

    [Fact]
    public void Options_outside_the_context_are_refused_with_the_numbers()
    {
        using var model = Load("llama_tiny");
        var context = RopeScaling.GetCurrentContext(model.Config);
        string Refuse(StreamingOptions options) => Assert.Throws<ConfigurationException>(() => new StreamingCache(model, options)).Message;
        Assert.Contains($"supports {context}", Refuse(new() { Window = context }), StringComparison.Ordinal);
        Assert.Contains("-1 sink tokens", Refuse(new() { SinkTokens = -1, Window = 8 }), StringComparison.Ordinal);
        Assert.Contains("4 sink tokens and a window of 0", Refuse(new() { Window = 0 }), StringComparison.Ordinal);
        Assert.Equal(context - 4, new StreamingOptions().GetWindow(model.Config));
        using var windowed = Load("mistral_tiny");
        Assert.Contains(
            "sliding window",
            Assert
                .Throws<ConfigurationException>(() => new StreamingCache(windowed, new() { Window = windowed.Config.SlidingWindow }))
                .Message,
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData(KeyValueType.BF16, 0.02)]
    [InlineData(KeyValueType.Int8, 0.04)]
    public void Read_with_fewer_bits_stays_near(KeyValueType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var model = Load("llama_tiny");
        var ids = Ids(128);
        var options = new StreamingOptions { SinkTokens = 4, Window = 12 };
        using StreamingCache exact = new(model, options),
            lean = new(model, options, type);
        var expected = Read(model, ids, exact, 5, 1);
        var found = Read(model, ids, lean, 5, 1);
        Near.AssertRelative(expected, found, tolerance);
        Assert.True(Near.Difference(expected, found) > 0);
        Assert.True(lean.ByteCount < 0.7 * exact.ByteCount);
    }
}
