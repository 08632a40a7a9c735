using System.Diagnostics;
using LongLora.Quantization;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Studies;

/// <summary>What quantized matrices cost in time on this machine's CPU.</summary>
internal static class DequantizationBenchmark
{
    /// <summary>Measures one square matrix of random weights.</summary>
    /// <param name="size">O and I.</param>
    /// <param name="rowCount">Rows to multiply.</param>
    /// <param name="runs">Timed runs of each, alternating, so a busy machine slows all of them equally.</param>
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
