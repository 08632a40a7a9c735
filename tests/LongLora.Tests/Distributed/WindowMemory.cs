using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Distributed;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Runtime;

namespace LongLora.Tests.Distributed;

/// <summary>Measures what a window that the ranks share takes on each of them, beyond the model (tests/ranks/window-memory.sh).</summary>
internal static class WindowMemory
{
    private const double Mebi = 1 << 20;

    internal static void Measure(ICommunicator ranks, string path, int length)
    {
        using var measuring = ranks.Phase("measuring", TimeSpan.FromMinutes(30));
        var folder = CheckpointDirectory.Open(path);
        using var model = ModelLoader.Load(folder.Config, folder);
        using var losses = new WindowLosses(model, new FullAttention(), ranks);
        var random = new Random(3);
        long[] window = [.. Enumerable.Range(0, length).Select(_ => (long)random.Next(model.Config.VocabularySize))];
        _ = losses.Compute(window[..Math.Min(length, 1024)]); // the libraries and the model are in memory now
        MemoryMeter.ReturnFreeMemory();
        var before = MemoryMeter.CurrentBytes;
        MemoryMeter.ResetPeak();
        var mean = losses.Compute(window).Average();
        var peak = MemoryMeter.PeakBytes - before;
        foreach (var line in ranks.GatherTexts($"rank {ranks.Rank}: {peak / Mebi:F0} MiB for {length:N0} tokens, loss {mean:F9}"))
        {
            if (ranks.Rank == 0)
                Console.WriteLine(line);
        }
    }
}
