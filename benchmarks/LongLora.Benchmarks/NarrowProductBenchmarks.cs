using BenchmarkDotNet.Attributes;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Benchmarks;

// N rows, I columns, r narrow columns

/// <summary>Products of a large matrix and one of 8 columns, which LoRA of rank 8 needs, by this library and by MKL.</summary>
public class NarrowProductBenchmarks
{
    private const int Columns = 8;

    private Tensor _rows = null!,
        _matrix = null!,
        _narrow = null!,
        _sum = null!;

    /// <summary>N and I.</summary>
    [Params("8192 x 576", "4096 x 4096")]
    public string Shape { get; set; } = "";

    /// <summary>Random matrices.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var sizes = Shape.Split(" x ").Select(int.Parse).ToArray();
        (_rows, _matrix, _narrow) = (randn(sizes[0], sizes[1]), randn(Columns, sizes[1]), randn(sizes[0], Columns));
        _sum = zeros(sizes[1], Columns);
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (var tensor in new[] { _rows, _matrix, _narrow, _sum })
            tensor.Dispose();
    }

    /// <summary>MKL: x mᵀ.</summary>
    [Benchmark]
    public void MklMultiply() => nn.functional.linear(_rows, _matrix).Dispose();

    /// <summary>Here: x mᵀ.</summary>
    [Benchmark]
    public void Multiply()
    {
        using var turned = _matrix.t();
        NarrowProduct.Multiply(_rows, turned).Dispose();
    }

    /// <summary>MKL: sum += xᵀ n.</summary>
    [Benchmark]
    public void MklAddTransposed()
    {
        using var turned = _rows.t();
        _sum.addmm_(turned, _narrow, 1, 1);
    }

    /// <summary>Here: sum += xᵀ n.</summary>
    [Benchmark]
    public void AddTransposed() => NarrowProduct.AddTransposed(_sum, _rows, _narrow, 1);
}
