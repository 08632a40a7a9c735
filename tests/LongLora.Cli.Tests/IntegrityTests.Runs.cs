using LongLora.Runtime;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Cli.Tests;

/// <summary>What a resumed run has of the run before it, and a campaign of damages.</summary>
public partial class IntegrityTests
{
    [Fact]
    public void Resume_on_another_number_of_threads_says_that_the_bytes_differ()
    {
        Copy("run");
        var recipe = File.ReadAllText(At("run", "recipe.yaml")).Split('\n')[0];
        Assert.Matches("; (x64|arm64) [A-Za-z0-9() -]+, [0-9]+ threads?\\.$", recipe);
        var threads = get_num_threads();
        try
        {
            set_num_threads(threads + 1);
            Assert.Contains(
                $"this is {ComputeProfile.Describe("cpu", ComputePrecision.Fp32)}. The result will not",
                Continue(Resume("run")).Error,
                StringComparison.Ordinal
            );
        }
        finally
        {
            set_num_threads(threads);
        }
        Assert.DoesNotContain("The result will not", Continue(Resume("run")).Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Spikes_are_skipped_told_and_resumed_to_the_same_bytes()
    {
        WriteTokens("train.bin", 20_000);
        // Three sequences of noise in text that has order: each is a spike, also in the second pass over the data.
        var tokens = File.ReadAllBytes(At("train.bin"));
        var random = new Random(1);
        for (var i = 12_000; i < 13_800; i++)
            BitConverter.TryWriteBytes(tokens.AsSpan(2 * i), (ushort)random.Next(3, 512));
        File.WriteAllBytes(At("train.bin"), tokens);
        string[] Arguments(string output, int steps) =>
            With([.. Resume(output), "--skip-spikes", "1.3"], ("--steps", $"{steps}"), ("--save-every", "5"));
        var (output, _) = Continue(Arguments("whole", 30));
        var skipped = MetricsLog.Read(At("whole")).Where(s => s.IsSkipped).Select(s => s.Step).ToList();
        Assert.NotEmpty(skipped);
        Assert.True(skipped[0] > SpikeGuard.Fewest);
        Assert.Contains($"{skipped.Count} of 30 steps were skipped", output, StringComparison.Ordinal);
        Assert.Equal(
            skipped.Count,
            File.ReadLines(At("whole", "metrics.jsonl")).Count(l => l.Contains("\"skipped\":true", StringComparison.Ordinal))
        );
        Continue(Arguments("parts", 20));
        Continue(Arguments("parts", 25));
        Continue(Arguments("parts", 30));
        Assert.Equal(File.ReadAllBytes(At("whole", Adapter)), File.ReadAllBytes(At("parts", Adapter)));
        Assert.Equal(File.ReadAllBytes(Checkpoint("whole", 30)), File.ReadAllBytes(Checkpoint("parts", 30)));
        Fail(ExitCode.Usage, ["skip-spikes"], [.. Resume("bad"), "--skip-spikes", "0.5"]);
    }

    // Minutes long: -explicit only -method "*campaign*". docs/results/reliability.md has its figures.
    [Theory(Explicit = true)]
    [InlineData(1000, 1)]
    public void Damages_campaign(int count, int seed)
    {
        var expected = Copy("whole");
        var files = Directory.EnumerateFiles(At("whole"), "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).ToList();
        var (random, outcomes) = (new Random(seed), new SortedDictionary<string, int>(StringComparer.Ordinal));
        for (var i = 0; i < count; i++)
        {
            var file = Path.GetRelativePath(At("whole"), files[random.Next(files.Count)]);
            finished.CopyTo(At("damaged"));
            File.WriteAllBytes(At("damaged", file), Damage(File.ReadAllBytes(At("damaged", file)), random));
            // The result is also used as it is, before a resume writes it again.
            var isUsed = file.StartsWith("adapter", StringComparison.Ordinal) && i % 2 == 0;
            var (code, _, error) = isUsed
                ? Run("merge", "--model", Stories, "--adapter", At("damaged", "adapter"), "--output", At("merged"))
                : Run(Resume("damaged"));
            var isSame = isUsed ? code == ExitCode.Done : expected.AsSpan().SequenceEqual(File.ReadAllBytes(At("damaged", Adapter)));
            var outcome = (code, isSame) switch
            {
                (ExitCode.Input or ExitCode.Usage, _) => "refused",
                (ExitCode.Done, true) when error.Contains("continues from step", StringComparison.Ordinal) => "fallen back",
                (ExitCode.Done, true) when error.Length > 0 => "told",
                (ExitCode.Done, true) => "harmless",
                _ => throw new InvalidOperationException($"{i}: {file}: exit code {code}, {(isSame ? "same" : "other")} bytes: {error}"),
            };
            var key = $"{outcome}: {(isUsed ? "use of " : "")}{file}";
            outcomes[key] = outcomes.GetValueOrDefault(key) + 1;
            foreach (var folder in (string[])[At("damaged"), At("merged")])
            {
                if (Directory.Exists(folder))
                    Directory.Delete(folder, recursive: true);
            }
        }
        foreach (var (outcome, number) in outcomes)
            TestContext.Current.TestOutputHelper?.WriteLine($"{number, 5} {outcome}");
        Assert.Equal(count, outcomes.Values.Sum());
    }
}
