using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace LongLora.Documents.Workers;

/// <summary>How this program starts itself once more as a worker.</summary>
internal static class WorkerCommand
{
    /// <summary>What a list of processes shows. A program that gets it as an argument is no worker, and should refuse it.</summary>
    public const string Argument = "document-worker";

    private const string Variable = "LONGLORA_DOCUMENT_WORKER";

    /// <summary>The memory of this worker in bytes; null if this process is no worker.</summary>
    public static long? WorkerMemory =>
        long.TryParse(Environment.GetEnvironmentVariable(Variable), CultureInfo.InvariantCulture, out var bytes) ? bytes : null;

    /// <summary>
    /// Whether this program can start workers: its runtime has startup hooks, which native and most trimmed programs have not, and it is
    /// no worker itself.
    /// </summary>
    public static bool IsSupported { get; } =
        Environment.GetEnvironmentVariable(Variable) is null
        && RuntimeFeature.IsDynamicCodeSupported
        && !(AppContext.TryGetSwitch("System.StartupHookProvider.IsSupported", out var hooks) && !hooks)
        && Environment.ProcessPath is { } path
        && (!IsHost(path) || Assembly.GetEntryAssembly()?.Location is { Length: > 0 });

    /// <summary>What to start.</summary>
    /// <param name="memory">Memory of the worker in bytes.</param>
    public static ProcessStartInfo Make(long memory)
    {
        var path = Environment.ProcessPath!;
        var start = new ProcessStartInfo(path)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
        };
        if (IsHost(path))
        {
            start.ArgumentList.Add("exec");
            if ((AppContext.GetData("APP_CONTEXT_DEPS_FILES") as string)?.Split(';')[0] is { Length: > 0 } deps && File.Exists(deps))
            {
                start.ArgumentList.Add("--depsfile");
                start.ArgumentList.Add(deps);
            }
            start.ArgumentList.Add(Assembly.GetEntryAssembly()!.Location);
        }
        start.ArgumentList.Add(Argument);
        // A reader needs no passwords.
        foreach (var name in start.Environment.Keys.Where(IsSecret).ToList())
            start.Environment.Remove(name);
        start.Environment[Variable] = memory.ToString(CultureInfo.InvariantCulture);
        start.Environment["DOTNET_STARTUP_HOOKS"] = typeof(WorkerCommand).Assembly.GetName().Name;
        start.Environment["DOTNET_GCHeapHardLimit"] = memory.ToString("X", CultureInfo.InvariantCulture);
        start.Environment["DOTNET_gcServer"] = "0";
        start.Environment["DOTNET_gcConcurrent"] = "0";
        start.Environment["DOTNET_TieredPGO"] = "0";
        // Neither a memory image of a crash, nor sockets in the folder of temporary files.
        start.Environment["DOTNET_DbgEnableMiniDump"] = "0";
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        return start;
    }

    private static bool IsHost(string path) => Path.GetFileNameWithoutExtension(path).Equals("dotnet", StringComparison.OrdinalIgnoreCase);

    private static bool IsSecret(string name) =>
        ((string[])["KEY", "TOKEN", "SECRET", "PASSWORD"]).Any(word => name.Contains(word, StringComparison.OrdinalIgnoreCase));
}
