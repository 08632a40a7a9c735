using System.Diagnostics;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>Times of one square matrix, in seconds: the shortest of several runs.</summary>
/// <param name="Size">O and I.</param>
/// <param name="Rows">Rows that are multiplied.</param>
/// <param name="Dense">Product with the matrix in fp32.</param>
/// <param name="Nf4">The same with it in NF4.</param>
/// <param name="Int8">The same with it in 8 bits.</param>
/// <param name="Kernels">Widening of the whole NF4 matrix: scalar, AVX2 and AVX-512 code, as far as the machine has them, by name.</param>
/// <param name="Lookup">The same by tensor operations.</param>
/// <param name="Quantize">Making NF4 of the matrix.</param>
/// <param name="BytesPerWeight">Of the NF4 matrix.</param>
public sealed record DequantizationTimes(
    long Size,
    long Rows,
    double Dense,
    double Nf4,
    double Int8,
    IReadOnlyDictionary<string, double> Kernels,
    double Lookup,
    double Quantize,
    double BytesPerWeight
);

/// <summary>What quantised matrices cost in time on this machine's CPU.</summary>
public static class DequantizationBenchmark
{
    /// <summary>Measures one square matrix of random weights.</summary>
    /// <param name="size">O and I.</param>
    /// <param name="rowCount">Rows that are multiplied.</param>
    /// <param name="runs">Timed runs of each, taken in turn, so that a busy machine slows all alike.</param>
    public static DequantizationTimes Run(long size = 4096, long rowCount = 512, int runs = 15)
    {
        LibTorch.EnsureLoaded();
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var weight = randn(size, size);
        var rows = randn(rowCount, size);
        using var nf4 = Nf4Projection.Quantize(weight);
        using var int8 = Int8Projection.Quantize(weight);
        var whole = (0L, size);
        var actions = new Dictionary<string, Action>
        {
            ["dense"] = () => nn.functional.linear(rows, weight).Dispose(),
            ["nf4"] = () => nf4.Forward(rows).Dispose(),
            ["int8"] = () => int8.Forward(rows).Dispose(),
            ["lookup"] = () => nf4.DequantizeByLookup(whole, whole).Dispose(),
            ["quantize"] = () => Nf4Projection.Quantize(weight).Dispose(),
        };
        foreach (var level in Enum.GetValues<Nf4KernelLevel>().Where(l => l <= Nf4Kernel.Best))
            actions.Add(level.ToString(), () => nf4.DequantizeOnCpu(whole, whole, level).Dispose());

        var shortest = actions.Keys.ToDictionary(name => name, _ => double.PositiveInfinity);
        for (var run = -1; run < runs; run++)
        {
            foreach (var (name, action) in actions)
            {
                var watch = Stopwatch.StartNew();
                action();
                if (run >= 0)
                    shortest[name] = Math.Min(shortest[name], watch.Elapsed.TotalSeconds);
            }
        }
        var kernels = Enum.GetNames<Nf4KernelLevel>().Where(shortest.ContainsKey).ToDictionary(name => name, name => shortest[name]);
        return new(
            size,
            rowCount,
            shortest["dense"],
            shortest["nf4"],
            shortest["int8"],
            kernels,
            shortest["lookup"],
            shortest["quantize"],
            (double)nf4.ByteCount / (size * size)
        );
    }
}
