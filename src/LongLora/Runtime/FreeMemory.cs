using System.Globalization;
using TorchSharp;

namespace LongLora.Runtime;

/// <summary>
/// Memory that this process can still take on a machine that it may share: the least of what the system, the control groups of a container
/// and the limits of the process leave. Pages of files count as free where the system can drop them.
/// </summary>
internal static class FreeMemory
{
    // Control groups of version 1 say this, rounded down to pages, for no limit.
    private const long NoLimit = 1L << 60;

    /// <summary>Free bytes of a device; null if unknown.</summary>
    internal static long? Count(DeviceType type, int index) =>
        type == DeviceType.CUDA ? CudaDriver.GetTotalBytes(index) - CudaDriver.GetUsedBytes(index)
        : OperatingSystem.IsLinux() ? CountOnLinux("/")
        : CountByCollector();

    /// <summary>What Linux says in the files below <paramref name="root"/>, and the limits of this process.</summary>
    internal static long? CountOnLinux(string root)
    {
        long?[] all =
        [
            ReadField(Path.Combine(root, "proc/meminfo"), "MemAvailable:") * 1024,
            .. CountInGroups(root),
            AddressSpace.Limit - MemoryMeter.ReadStatus("VmSize:"),
            AddressSpace.FindLimit("Max data size") - MemoryMeter.ReadStatus("VmData:"),
        ];
        return all.Min() is { } least ? Math.Max(0, least) : null;
    }

    // A group's limit holds for all groups in it. A container may see its own group as the root.
    private static IEnumerable<long?> CountInGroups(string root)
    {
        foreach (var line in ReadLines(Path.Combine(root, "proc/self/cgroup")))
        {
            // 0::/path, or 4:memory:/path in version 1
            var parts = line.Split(':', 3);
            if (parts.Length < 3 || (parts[1].Length > 0 && !parts[1].Split(',').Contains("memory")))
                continue;
            var (folder, limit, usage, droppable) =
                parts[1].Length == 0
                    ? ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")
                    : ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file");
            var names = parts[2].Split('/', StringSplitOptions.RemoveEmptyEntries);
            for (var depth = names.Length; depth >= 0; depth--)
            {
                var group = Path.Combine([root, folder, .. names[..depth]]);
                if (ReadNumber(Path.Combine(group, limit)) is { } most and < NoLimit)
                    yield return most
                        - ReadNumber(Path.Combine(group, usage))
                        + (ReadField(Path.Combine(group, "memory.stat"), droppable) ?? 0);
            }
        }
    }

    private static long? CountByCollector()
    {
        if (GC.GetGCMemoryInfo().MemoryLoadBytes == 0) // known after a first collection
            GC.Collect(0);
        var info = GC.GetGCMemoryInfo();
        return info.MemoryLoadBytes == 0 ? null : Math.Max(0, info.TotalAvailableMemoryBytes - info.MemoryLoadBytes);
    }

    private static long? ReadNumber(string path) =>
        long.TryParse(ReadLines(path).FirstOrDefault(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    // "MemAvailable:   1234 kB" or "inactive_file 1234"
    private static long? ReadField(string path, string name)
    {
        var words = ReadLines(path)
            .Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .FirstOrDefault(w => w.Length > 1 && w[0] == name);
        return long.TryParse(words?[1], NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
    }

    private static string[] ReadLines(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllLines(path) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
