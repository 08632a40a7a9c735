using LongLora.Distributed;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>The job of several processes that a launcher started this one in, if it did.</summary>
/// <param name="launcher">The launcher; null for none.</param>
/// <param name="error">Standard error of this process.</param>
internal sealed class CliJob(Launcher? launcher, TextWriter error)
{
    private static readonly TimeSpan s_longestReading = TimeSpan.FromMinutes(5),
        s_longestStart = TimeSpan.FromSeconds(5);

    private const int DefaultTimeout = 8;

    private bool _hasJoined;

    /// <summary>Whether this process belongs to a job. What is wrong with its environment is said later.</summary>
    internal static bool IsInJob
    {
        get
        {
            try
            {
                return Launcher.Find(Environment.GetEnvironmentVariable) is { Size: > 1 };
            }
            catch (ConfigurationException)
            {
                return true;
            }
        }
    }

    /// <summary>Whether there are other ranks.</summary>
    internal bool HasOthers => launcher is { Size: > 1 };

    /// <summary>Whether this process writes to the terminal: rank 0 does.</summary>
    internal bool Speaks { get; } =
        launcher is { Size: > 1 } ? launcher.Rank == 0 : Environment.GetEnvironmentVariable("SLURM_PROCID") is null or "" or "0";

    /// <summary>The process's job.</summary>
    /// <exception cref="ConfigurationException">A variable of a launcher is not a number.</exception>
    internal static CliJob Find(TextWriter error) => new(Launcher.Find(Environment.GetEnvironmentVariable), error);

    /// <summary>Refuses a command that only one process can run.</summary>
    /// <param name="command">The command.</param>
    /// <param name="others">Those that several can run.</param>
    /// <exception cref="ConfigurationException">There are others.</exception>
    internal void RequireOneProcess(string command, IEnumerable<string> others)
    {
        if (HasOthers)
            throw new ConfigurationException(
                $"Cannot run {command} on {launcher!.Size} ranks because it works in one process. Start it without {launcher.Name}. "
                    + $"On several run: {string.Join(", ", others)}."
            );
    }

    /// <summary>
    /// Called at the end of a process that fails before the ranks have met, where all fail alike and only rank 0 says why. A launcher ends
    /// the others as soon as one has ended (Open MPI 5 within milliseconds), and so might end rank 0 before it has spoken.
    /// </summary>
    internal void LetRankZeroSpeak()
    {
        if (HasOthers && !Speaks && !_hasJoined)
            Thread.Sleep(s_longestStart);
    }

    /// <summary>Runs a command as one of the ranks. What goes wrong on any of them is printed once and ends all.</summary>
    /// <param name="read">Reads the options.</param>
    /// <param name="patience">Seconds without progress before a rank is taken for hung; null for the default.</param>
    /// <param name="run">Gives the exit code.</param>
    /// <param name="explain">Exit code and message for an error.</param>
    internal int Run<TOptions>(
        Func<TOptions> read,
        Func<TOptions, int?> patience,
        Func<TOptions, ICommunicator, int> run,
        Func<Exception, (int Code, string Text)> explain
    )
    {
        Launcher.RequireNoLooseTasks(Environment.GetEnvironmentVariable);
        if (!HasOthers)
            return run(read(), SingleProcess.Instance);
        LibTorch.EnsureLoaded();
        // Not disposed if something fails: that would wait for ranks that never come.
        var ranks = Job.Open(launcher!, TimeSpan.FromSeconds(DefaultTimeout), Tell);
        _hasJoined = true;
        try
        {
            TOptions options;
            using (ranks.Phase("reading the options", s_longestReading))
                options = read();
            ranks.Limit = TimeSpan.FromSeconds(patience(options) ?? DefaultTimeout);
            if (Speaks)
                Greet(ranks);
            var code = run(options, ranks);
            ranks.Dispose();
            return code;
        }
        catch (FailedElsewhereException)
        {
            ranks.Abort(ExitCode.Fault, "");
            throw;
        }
        catch (OperationCanceledException)
        {
            // All have agreed on it.
            ranks.Abort(ExitCode.Interrupted, "Interrupted.");
            throw;
        }
        catch (Exception e)
        {
            var (code, text) = explain(e);
            ranks.Abort(code, text);
            throw;
        }
    }

    private void Tell(string message)
    {
        error.WriteLine(message);
        error.Flush();
    }

    private void Greet(MpiCommunicator ranks)
    {
        var machines = ranks.Hosts.GroupBy(h => h).Select(g => $"{g.Count()} on {g.Key}");
        Tell($"{ranks.Size} ranks ({string.Join(", ", machines)}) by {ranks.Library}");
        if (Environment.ProcessorCount == 1 && CountProcessors() >= 2 * ranks.LocalSize)
            Tell("Each rank has only one core, because the launcher binds it. Start Open MPI's mpirun with --bind-to none.");
    }

    // All of the machine, not only those that this process may use.
    private static int CountProcessors() =>
        File.Exists("/proc/cpuinfo")
            ? File.ReadLines("/proc/cpuinfo").Count(line => line.StartsWith("processor", StringComparison.Ordinal))
            : Environment.ProcessorCount;
}
