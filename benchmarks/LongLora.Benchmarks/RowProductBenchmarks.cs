using BenchmarkDotNet.Attributes;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Benchmarks;

// N rows, I inputs, O outputs

/// <summary>Products of a few rows with matrices that are too large for the caches, by this library and by MKL.</summary>
public class RowProductBenchmarks
{
    private const int Matrices = 16;

    private Tensor[] _matrices = null!;
    private Tensor _rows = null!;

    /// <summary>N.</summary>
    [Params(1, 4, 8, 16, 32, 64)]
    public int Rows { get; set; }

    /// <summary>O and I.</summary>
    [Params("1536 x 576", "2048 x 2048")]
    public string Shape { get; set; } = "";

    /// <summary>Random matrices.</summary>
    [GlobalSetup]
    public void Setup()
    {
        var sizes = Shape.Split(" x ").Select(int.Parse).ToArray();
        _matrices = [.. Enumerable.Range(0, Matrices).Select(_ => randn(sizes[0], sizes[1]))];
        _rows = randn(Rows, sizes[1]);
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        foreach (var tensor in _matrices)
            tensor.Dispose();
        _rows.Dispose();
    }

    /// <summary>MKL, one after the other.</summary>
    [Benchmark]
    public void Mkl()
    {
        using var noGradient = no_grad();
        foreach (var matrix in _matrices)
            nn.functional.linear(_rows, matrix).Dispose();
    }

    /// <summary>Here.</summary>
    [Benchmark]
    public void Here()
    {
        using var noGradient = no_grad();
        foreach (var matrix in _matrices)
            RowProduct.Multiply(_rows, matrix)!.Dispose();
    }
}
