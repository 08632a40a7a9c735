using System.Globalization;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Runs;

/// <summary>
/// Keeps a second process out of a run directory: <c>run.lock</c> says who trains in it. It goes with the run. One that a killed process of
/// this machine, or an earlier start of the same Slurm job, left is taken over; of another machine nothing else can be known, so its lock
/// is respected.
/// </summary>
internal sealed class RunLock : IDisposable
{
    public const string FileName = "run.lock";

    private readonly string _path,
        _text;

    private RunLock(string path, string text) => (_path, _text) = (path, text);

    /// <summary>Refuses a folder in which another process trains.</summary>
    /// <exception cref="ConfigurationException">It names the process.</exception>
    public static void RequireFree(string folder)
    {
        var path = Path.Combine(folder, FileName);
        if (ReadText(path) is { } text && Parse(text) is { } owner && !owner.IsGone())
            throw owner.Refuse(folder, path);
    }

    /// <summary>Takes the lock of a folder that exists.</summary>
    /// <param name="folder">The run directory.</param>
    /// <param name="tell">Told if a lock was left by a process that has ended.</param>
    /// <exception cref="ConfigurationException">Another process trains in it, or the lock cannot be written.</exception>
    public static RunLock Take(string folder, Action<string> tell)
    {
        var path = Path.Combine(folder, FileName);
        var text = JsonSerializer.Serialize(Owner.Current);
        RunLock? taken = null;
        AtomicFile.Guard(path, () =>
        {
            var (aside, old) = (AtomicFile.MakeAside(path), AtomicFile.MakeAside(path + ".old"));
            File.WriteAllText(aside, text);
            try
            {
                while (taken is null)
                {
                    RemoveLeft(folder, path, old, tell);
                    try
                    {
                        // Complete from the first moment, and only one process can win.
                        File.Move(aside, path, overwrite: false);
                        taken = new RunLock(path, text);
                    }
                    catch (IOException) when (File.Exists(path) && File.Exists(aside)) { }
                }
            }
            finally
            {
                File.Delete(aside);
            }
        });
        return taken!;
    }

    /// <summary>Gives the folder free.</summary>
    public void Dispose()
    {
        try
        {
            if (ReadText(_path) == _text)
                File.Delete(_path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It stays, and the next run on this machine takes it over.
        }
    }

    private static void RemoveLeft(string folder, string path, string old, Action<string> tell)
    {
        if (ReadText(path) is not { } text)
            return;
        var owner = Parse(text);
        if (owner is not null && !owner.IsGone())
            throw owner.Refuse(folder, path);
        // Renamed and not deleted, so that of two processes that see the same old lock only one removes it.
        try
        {
            File.Move(path, old, overwrite: true);
        }
        catch (FileNotFoundException)
        {
            return;
        }
        if (ReadText(old) != text)
        {
            File.Move(old, path, overwrite: false);
            return;
        }
        File.Delete(old);
        if (owner is not null)
            RemoveDiagnostics(owner.Pid);
        tell(
            owner is null
                ? $"The lock '{path}' could not be read, so it was taken over."
                : $"The lock '{path}' was left by process {owner.Pid}, which started on {owner.Started:u} and has ended. It was taken over."
        );
    }

    // The runtime's sockets for debuggers, which a killed process leaves in the temporary folder.
    private static void RemoveDiagnostics(int process)
    {
        foreach (var kind in (string[])["dotnet-diagnostic", "clr-debug-pipe"])
        {
            try
            {
                foreach (var left in Directory.EnumerateFiles(Path.GetTempPath(), $"{kind}-{process}-*"))
                    File.Delete(left);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // They are empty and harm nothing.
            }
        }
    }

    private static string? ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"Cannot read the lock '{path}': {e.Message} Delete it if no run uses the folder.", e);
        }
    }

    private static Owner? Parse(string text)
    {
        try
        {
            return JsonSerializer.Deserialize<Owner>(text);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>A process that trains.</summary>
    /// <param name="Host">Its machine.</param>
    /// <param name="Pid">Its number there.</param>
    /// <param name="Started">When the run began.</param>
    /// <param name="Job">Its Slurm job, which stays the same when it is started again on other machines; null for none.</param>
    /// <param name="Restarts">How often the job had been started again.</param>
    /// <param name="Process">When the process began, as exactly as the system says; tells it from a later one of the same number.</param>
    private sealed record Owner(string Host, int Pid, DateTime Started, string? Job, int Restarts, string Process)
    {
        public static Owner Current =>
            new(
                Environment.MachineName,
                Environment.ProcessId,
                DateTime.UtcNow,
                Environment.GetEnvironmentVariable("SLURM_JOB_ID"),
                int.TryParse(Environment.GetEnvironmentVariable("SLURM_RESTART_COUNT"), CultureInfo.InvariantCulture, out var n) ? n : 0,
                FindStart(Environment.ProcessId) ?? ""
            );

        // Slurm starts a job again only after it has ended.
        public bool IsGone() =>
            Host == Environment.MachineName
                ? FindStart(Pid) != Process
                : Job is { Length: > 0 } && Job == Current.Job && Restarts < Current.Restarts;

        public ConfigurationException Refuse(string folder, string path) =>
            new(
                $"Cannot use the output '{folder}' because process {Pid} on {Host} has been training in it since {Started:u}. "
                    + $"Wait for it, or choose another output. If that process has ended, delete '{path}'."
            );

        // Null if there is no such process. On Linux in ticks since the start of the machine, which no change of the clock affects.
        private static string? FindStart(int pid)
        {
            try
            {
                if (OperatingSystem.IsLinux())
                {
                    var stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat"));
                    var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
                    return fields[0] is "Z" or "X" ? null : $"{File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim()} {fields[19]}";
                }
                using var process = System.Diagnostics.Process.GetProcessById(pid);
                return process.StartTime.ToUniversalTime().ToString("s", CultureInfo.InvariantCulture);
            }
            catch (Exception e) when (e is ArgumentException or InvalidOperationException or IOException)
            {
                return null;
            }
            catch (Exception e) when (e is UnauthorizedAccessException or System.ComponentModel.Win32Exception)
            {
                return ""; // it is there, and belongs to someone else
            }
        }
    }
}
