using System.Diagnostics;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Configs;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Studies;

/// <summary>Times prompt processing and token generation, with random tokens.</summary>
internal static class DecodeBenchmark
{
    private const int Rounds = 3;

    /// <summary>Measures one length.</summary>
    /// <param name="model">The model.</param>
    /// <param name="promptTokens">Tokens of the prompt, at least 2.</param>
    /// <param name="newTokens">Tokens to generate after it.</param>
    /// <param name="chunk">Prompt tokens to process at once.</param>
    /// <param name="cacheType">Number format of keys and values; null for the type that the model computes in.</param>
    /// <param name="cancellation">Checked before each chunk and token.</param>
    public static DecodeMeasurement Run(
        CausalLanguageModel model,
        int promptTokens,
        int newTokens = 64,
        int chunk = 1024,
        KeyValueType? cacheType = null,
        CancellationToken cancellation = default
    )
    {
        if (promptTokens < 2 || newTokens < 1 || chunk < 1)
            throw new ConfigurationException(
                "A benchmark needs a prompt of at least 2 tokens, at least 1 new token and at least 1 token per chunk, but got "
                    + $"{promptTokens}, {newTokens} and {chunk}."
            );
        using var noGradient = no_grad();
        var gemm = GemmRate.Measure(model, promptTokens);
        using var positions = RotaryEmbedding.Create(model.Config, promptTokens + newTokens, model.Device);
        using var cache = new KeyValueCache(model, promptTokens + newTokens, 1, cacheType);
        var random = new Random(0);
        long[] ids = [.. Enumerable.Range(0, promptTokens).Select(_ => random.NextInt64(model.Config.VocabularySize))];
        var prefill = Enumerable.Range(0, Rounds).Select(_ => Time(() => Prefill(model, ids, chunk, cache, positions, cancellation))).Min();
        using var emptyModel = LoadedModel.Open(
            ModelSource.Create(RemoveNumbers(model.Config), seed: 0),
            new LoadOptions { Device = model.Device.ToString() }
        );
        var empty = emptyModel.Network;
        using var emptyPositions = RotaryEmbedding.Create(empty.Config, 1 + newTokens, model.Device);
        using var emptyCache = new KeyValueCache(empty, 1 + newTokens, 1, cacheType);
        Prefill(empty, [0], 1, emptyCache, emptyPositions, cancellation);
        var (times, emptyTimes) = (new List<double>(), new List<double>());
        long next = 0;
        for (var i = 0; i < newTokens; i++)
        {
            // Alternating, so both run under the same load.
            cancellation.ThrowIfCancellationRequested();
            times.Add(Time(() => next = MakeNext(model, next, cache, positions)));
            emptyTimes.Add(Time(() => MakeNext(empty, 0, emptyCache, emptyPositions)));
        }
        var head = 2.0 * model.Head.InputSize * model.Head.OutputSize;
        var flops =
            StepFlops
                .Count(
                    model.Config,
                    new FullAttention(),
                    new AdapterOptions
                    {
                        Rank = 0,
                        TrainEmbeddings = false,
                        TrainNorms = false,
                    },
                    promptTokens
                )
                .Forward
            - (promptTokens - 1) * head;
        return new(promptTokens, prefill, flops, FindMedian(times), gemm, cache.ByteCount, times.Min(), emptyTimes.Min());
    }

    private static ModelConfig RemoveNumbers(ModelConfig config) =>
        config with
        {
            HeadSize = 4,
            RotarySize = 4,
            HiddenSize = 4 * config.HeadCount,
            IntermediateSize = 8,
            VocabularySize = 8,
            RopeScaling = RopeScalingConfig.None,
        };

    private static double FindMedian(List<double> times) => times.Order().ElementAt(times.Count / 2);

    private static void Prefill(
        CausalLanguageModel model,
        long[] ids,
        int chunk,
        KeyValueCache cache,
        RotaryEmbedding positions,
        CancellationToken cancellation
    )
    {
        cache.Truncate(0, 0);
        for (var start = 0; start < ids.Length; start += chunk)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            var hidden = CachedPass.Read(model, ids.AsSpan(start, Math.Min(chunk, ids.Length - start)), cache, 0, positions);
            if (start + chunk >= ids.Length)
                _ = model.Head.Forward(hidden.narrow(0, hidden.size(0) - 1, 1)).argmax().item<long>();
        }
    }

    private static long MakeNext(CausalLanguageModel model, long id, KeyValueCache cache, RotaryEmbedding positions)
    {
        using var scope = NewDisposeScope();
        return model.Head.Forward(CachedPass.Step(model, [id], cache, [0], positions)).argmax().item<long>();
    }

    private static double Time(Action action)
    {
        var watch = Stopwatch.StartNew();
        action();
        return watch.Elapsed.TotalSeconds;
    }
}
