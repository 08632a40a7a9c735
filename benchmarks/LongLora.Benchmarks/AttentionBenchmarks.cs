using BenchmarkDotNet.Attributes;
using LongLora.Attention;
using static TorchSharp.torch;

namespace LongLora.Benchmarks;

// H heads, L tokens, K head size

/// <summary>Forward and backward of one layer's attention, 6 heads of 48, S² in groups of a quarter of the text.</summary>
public class AttentionBenchmarks
{
    private const int Heads = 6,
        HeadSize = 48;

    private Tensor _query = null!,
        _key = null!,
        _value = null!,
        _gradient = null!;
    private ShiftedSparseAttention _sparse = null!;

    /// <summary>L.</summary>
    [Params(1024, 4096, 8192)]
    public int Length { get; set; }

    /// <summary>Random heads, laid out as projections give them.</summary>
    [GlobalSetup]
    public void Setup()
    {
        Tensor Random() => randn([1, Length, Heads, HeadSize]).transpose(1, 2);
        (_query, _key, _value, _gradient) = (Random(), Random(), Random(), Random());
        _sparse = new ShiftedSparseAttention(Length / 4);
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (var tensor in new[] { _query, _key, _value, _gradient })
            tensor.Dispose();
    }

    /// <summary>Every earlier token.</summary>
    [Benchmark(Baseline = true)]
    public void Full() => ForwardAndBackward(new FullAttention());

    /// <summary>S²-Attn.</summary>
    [Benchmark]
    public void ShiftedSparse() => ForwardAndBackward(_sparse);

    private void ForwardAndBackward(IAttention attention)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var result = attention.Forward(_query, _key, _value);
        attention.Backward(_gradient, _query, _key, _value, result);
    }
}
