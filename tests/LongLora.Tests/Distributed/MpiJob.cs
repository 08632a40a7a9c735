using System.Diagnostics;
using System.Text;

namespace LongLora.Tests.Distributed;

/// <summary>A job of several processes under one of the launchers of this machine.</summary>
internal sealed class MpiJob
{
    private MpiJob(int code, string output, string error, TimeSpan elapsed) =>
        (Code, Output, Error, Elapsed) = (code, output, error, elapsed);

    /// <summary>The launchers that are tried.</summary>
    internal static IReadOnlyList<string> Launchers { get; } = ["mpirun.openmpi", "mpirun.mpich"];

    internal int Code { get; }

    internal string Output { get; }

    internal string Error { get; }

    internal TimeSpan Elapsed { get; }

    /// <summary>The program of a launcher; the test is skipped where there is none.</summary>
    internal static string Require(string launcher)
    {
        var path = (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator)
            .Select(folder => Path.Combine(folder, launcher))
            .FirstOrDefault(File.Exists);
        Assert.SkipWhen(path is null, $"there is no {launcher}; install openmpi-bin and mpich");
        return path!;
    }

    /// <summary>Runs a program as several ranks.</summary>
    /// <param name="launcher">One of <see cref="Launchers"/>.</param>
    /// <param name="size">Ranks.</param>
    /// <param name="command">The program and its arguments.</param>
    /// <param name="meanwhile">Gets the launcher's process while it runs.</param>
    /// <param name="environment">Variables besides those of this process.</param>
    /// <param name="limit">Longest time; null for four minutes.</param>
    internal static MpiJob Run(
        string launcher,
        int size,
        IEnumerable<string> command,
        Action<Process>? meanwhile = null,
        IReadOnlyDictionary<string, string?>? environment = null,
        TimeSpan? limit = null
    )
    {
        var start = new ProcessStartInfo(Require(launcher))
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        foreach (var argument in Options(launcher, size).Concat(command))
            start.ArgumentList.Add(argument);
        start.Environment["OMP_NUM_THREADS"] = "1";
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>())
            start.Environment[name] = value;
        var watch = Stopwatch.StartNew();
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        StringBuilder output = new(),
            error = new();
        process.OutputDataReceived += (_, e) => Append(output, e.Data);
        process.ErrorDataReceived += (_, e) => Append(error, e.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        meanwhile?.Invoke(process);
        if (!process.WaitForExit(limit ?? TimeSpan.FromMinutes(4)))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{launcher} did not end: {output}\n{error}");
        }
        process.WaitForExit();
        return new MpiJob(process.ExitCode, output.ToString(), error.ToString(), watch.Elapsed);
    }

    private static IEnumerable<string> Options(string launcher, int size) =>
        launcher.EndsWith("openmpi", StringComparison.Ordinal)
            ? ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", $"{size}"]
            : ["-np", $"{size}"];

    private static void Append(StringBuilder text, string? line)
    {
        lock (text)
            text.AppendLine(line);
    }

    public override string ToString() => $"exit code {Code} after {Elapsed.TotalSeconds:F1} s\n{Output}\n{Error}";
}
