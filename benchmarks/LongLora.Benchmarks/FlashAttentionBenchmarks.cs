using BenchmarkDotNet.Attributes;
using LongLora.Attention;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Benchmarks;

// H query heads, J key-value heads, L tokens, K head size

/// <summary>Causal attention in fp32 by this library's kernel and by libtorch's: 9 query heads on 3 key-value heads.</summary>
public class FlashAttentionBenchmarks
{
    private const int Heads = 9,
        SharedHeads = 3;

    private Tensor _query = null!,
        _key = null!,
        _value = null!,
        _gradient = null!;
    private (Tensor Output, Tensor LogSumExp) _result;

    /// <summary>L.</summary>
    [Params(512, 2048, 8192)]
    public int Length { get; set; }

    /// <summary>K.</summary>
    [Params(48, 64, 128)]
    public int HeadSize { get; set; }

    /// <summary>Random heads, laid out as projections give them.</summary>
    [GlobalSetup]
    public void Setup()
    {
        Tensor Random(int heads) => randn([1, Length, heads, HeadSize]).transpose(1, 2);
        (_query, _key, _value, _gradient) = (Random(Heads), Random(SharedHeads), Random(SharedHeads), Random(Heads));
        _result = FlashAttention.Forward(_query, _key, _value, causal: true);
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (var tensor in new[] { _query, _key, _value, _gradient, _result.Output, _result.LogSumExp })
            tensor.Dispose();
    }

    /// <summary>libtorch, forward.</summary>
    [Benchmark]
    public void LibTorchForward() => Run(() => Dispatcher.FlashAttentionCpu(_query, _key, _value, causal: true));

    /// <summary>Here, forward.</summary>
    [Benchmark]
    public void Forward() => Run(() => FlashAttention.Forward(_query, _key, _value, causal: true));

    /// <summary>libtorch, backward.</summary>
    [Benchmark]
    public void LibTorchBackward() =>
        Run(() => Dispatcher.FlashAttentionCpuBackward(_gradient, _query, _key, _value, _result.Output, _result.LogSumExp, causal: true));

    /// <summary>Here, backward.</summary>
    [Benchmark]
    public void Backward() =>
        Run(() => FlashAttention.Backward(_gradient, _query, _key, _value, _result.Output, _result.LogSumExp, causal: true));

    private static void Run<T>(Func<T> attention)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        attention();
    }
}
