using System.Diagnostics;
using System.Globalization;
using LongLora.Runtime;

namespace LongLora.Tests;

/// <summary>
/// Gives a reader many damaged inputs, the same for the same seed. Each must be read, or refused by an exception of LongLora's with a
/// message of reasonable length; without another exception, endless work, or much memory.
/// </summary>
/// <remarks>
/// The variables LONGLORA_FUZZ_CASES and LONGLORA_FUZZ_SEED give other numbers than those of the continuous tests, and LONGLORA_FUZZ_FIRST
/// the first case; LONGLORA_FUZZ_KEEP names a file for the last input. The output says how many inputs were read, what the worst of them
/// took, and which took more than a second: on a busy machine they should be run once more by themselves.
/// </remarks>
internal static class FuzzRun
{
    private const long MostBytes = 300 << 20;
    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(300);

    private static string? Variable(string name) => Environment.GetEnvironmentVariable("LONGLORA_FUZZ_" + name);

    /// <summary>Runs all cases.</summary>
    /// <param name="reader">The name of the reader.</param>
    /// <param name="cases">How many, unless the variable says so.</param>
    /// <param name="make">Makes a damaged input.</param>
    /// <param name="read">Reads it.</param>
    /// <param name="refuses">Whether the reader refuses anything; a page or a plain text may be whatever it is.</param>
    public static void Check(string reader, int cases, Func<Mutation, byte[]> make, Action<byte[]> read, bool refuses = true)
    {
        cases = int.Parse(Variable("CASES") ?? cases.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        var seed = int.Parse(Variable("SEED") ?? "1", CultureInfo.InvariantCulture);
        var first = int.Parse(Variable("FIRST") ?? "0", CultureInfo.InvariantCulture);
        var (accepted, refused, slow) = (0, 0, new List<int>());
        var (worst, most) = (TimeSpan.Zero, 0L);
        var faults = new Dictionary<string, (int Count, string First)>();
        var total = Stopwatch.StartNew();
        var (current, started) = (-1, Stopwatch.GetTimestamp());
        using var watch = new Timer(_ =>
        {
            if (Stopwatch.GetElapsedTime(Volatile.Read(ref started)) > s_longest)
                Environment.FailFast($"Fuzzing of {reader}: case {current} of seed {seed} takes more than {s_longest}.");
        });
        watch.Change(1000, 1000);
        for (var i = first; i < first + cases; i++)
        {
            var input = make(new Mutation(unchecked(seed * 1_000_003 + i)));
            if (Variable("KEEP") is { } kept)
                File.WriteAllBytes(kept, input);
            current = i;
            Volatile.Write(ref started, Stopwatch.GetTimestamp());
            var bytes = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                read(input);
                accepted++;
            }
            catch (LongLoraException e) when (e.Message.Length is > 5 and < 4000)
            {
                refused++;
            }
            catch (Exception e)
            {
                var text = e.ToString();
                var key =
                    e.GetType().Name
                    + string.Concat(text.Split('\n').Where(l => l.Contains("at LongLora.", StringComparison.Ordinal)).Take(1));
                faults[key] = faults.TryGetValue(key, out var known)
                    ? (known.Count + 1, known.First)
                    : (1, $"case {i}: {text[..Math.Min(2500, text.Length)]}");
            }
            var time = Stopwatch.GetElapsedTime(started);
            bytes = GC.GetAllocatedBytesForCurrentThread() - bytes;
            if (time > TimeSpan.FromSeconds(1))
                slow.Add(i);
            (worst, most) = (time > worst ? time : worst, Math.Max(most, bytes));
        }
        TestContext.Current.TestOutputHelper?.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"FUZZ {reader}: {cases} cases of seed {seed} in {total.Elapsed.TotalSeconds:F0} s, {accepted} read, {refused} refused, "
                    + $"{faults.Values.Sum(f => f.Count)} faults, {slow.Count} over 1 s (worst {worst.TotalSeconds:F2} s), at "
                    + $"most {most >> 20} MiB{(slow.Count > 0 ? "; slow: " + string.Join(' ', slow) : "")}"
            )
        );
        Assert.True(faults.Count == 0, string.Join("\n\n", faults.Select(f => $"{f.Value.Count} times: {f.Value.First}")));
        Assert.InRange(most, 0, MostBytes);
        if (first > 0)
            return; // some cases alone
        Assert.True(accepted > 0, "Nothing was read; the inputs do not test more than the first step of the reader.");
        Assert.True(refused > 0 || !refuses, "No damage was noticed; the inputs do not test the reader.");
    }
}
