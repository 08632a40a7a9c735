using System.Globalization;
using LongLora.Runs;
using LongLora.Tests.Distributed;

namespace LongLora.Cli.Tests;

/// <summary>What a rank holds in memory of its own, from its start to its end, with and without a divided model.</summary>
public class DividedMemoryTests : CliRun
{
    private const int Ranks = 3,
        Layers = 12,
        Width = 1024,
        MlpWidth = 2816;

    [Fact]
    public void Train_a_rank_holds_its_part_of_the_model_and_two_blocks()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "only Linux tells the memory of another process");
        MpiJob.Require("mpirun.openmpi");
        WriteTokens("train.bin", 2_000);
        WriteModel();
        var whole = Measure("whole");
        var divided = Measure("divided", "--shard", "model");
        // In int8 a weight takes a byte.
        const double block = 4.0 * Width * Width + 3.0 * Width * MlpWidth;
        var saved = (Layers - (double)Layers / Ranks - 2) * block / 1e6;
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{Layers * block / 1e6:N0} MB of matrices in int8, {Ranks} ranks: {whole:N0} MB a rank, {divided:N0} MB divided; "
                + $"{saved:N0} MB expected"
        );
        // Heaps of .NET and libtorch differ by some tens of MB.
        Assert.InRange(whole - divided, saved - 40, saved + 60);
        Assert.Equal(Adapter("whole"), Adapter("divided"));
    }

    private void WriteModel()
    {
        var config = File.ReadAllText(Path.Combine(Stories, "config.json"));
        foreach (
            var (from, to) in new[]
            {
                ("\"hidden_size\": 64", $"\"hidden_size\": {Width}"),
                ("\"intermediate_size\": 172", $"\"intermediate_size\": {MlpWidth}"),
                ("\"num_hidden_layers\": 5", $"\"num_hidden_layers\": {Layers}"),
                ("\"num_key_value_heads\": 4", "\"num_key_value_heads\": 8"),
                ("\"float32\"", "\"bfloat16\""),
            }
        )
        {
            Assert.Contains(from, config, StringComparison.Ordinal);
            config = config.Replace(from, to, StringComparison.Ordinal);
        }
        File.WriteAllText(At("config.json"), config);
        NewModel.Write(At("model"), At("config.json"), null, 64, 1);
    }

    private byte[] Adapter(string output) => File.ReadAllBytes(At(output, "adapter", "adapter_model.safetensors"));

    // The most anonymous memory of a rank in MB, the mean of all ranks.
    private double Measure(string output, params string[] more)
    {
        var peaks = new Dictionary<string, long>();
        var job = MpiJob.Run(
            "mpirun.openmpi",
            Ranks,
            [
                "dotnet",
                Path.Combine(AppContext.BaseDirectory, "LongLora.Cli.dll"),
                "train",
                "--model",
                At("model"),
                "--data",
                At("train.bin"),
                "--context",
                "64",
                "--output",
                At(output),
                "--steps",
                "2",
                "--gradient-accumulation",
                $"{Ranks}",
                "--quantization",
                "int8",
                "--device",
                "cpu",
                .. more,
            ],
            process =>
            {
                while (!process.HasExited)
                {
                    foreach (var (id, bytes) in FindRanks(At(output)))
                        peaks[id] = Math.Max(peaks.GetValueOrDefault(id), bytes);
                    Thread.Sleep(20);
                }
            }
        );
        Assert.True(job.Code == ExitCode.Done, job.ToString());
        Assert.Equal(Ranks, peaks.Count);
        return peaks.Values.Average() / 1e6;
    }

    private static IEnumerable<(string Id, long Bytes)> FindRanks(string output)
    {
        foreach (var folder in Directory.EnumerateDirectories("/proc").Where(f => char.IsAsciiDigit(Path.GetFileName(f)[0])))
        {
            var bytes = 0L;
            try
            {
                var words = File.ReadAllText(Path.Combine(folder, "cmdline")).Split('\0');
                if (Path.GetFileName(words[0]) != "dotnet" || !words.Contains(output))
                    continue;
                var line = File.ReadLines(Path.Combine(folder, "status")).First(l => l.StartsWith("RssAnon:", StringComparison.Ordinal));
                bytes = 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidOperationException)
            {
                continue; // it has ended
            }
            yield return (Path.GetFileName(folder), bytes);
        }
    }
}
