using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Resident memory of this process, or memory in use on a GPU.</summary>
internal static partial class MemoryMeter
{
    /// <summary>Total bytes of memory that a device has; null if unknown.</summary>
    internal static long? GetAvailableBytes(DeviceType type, int index) =>
        type == DeviceType.CUDA ? CudaDriver.GetTotalBytes(index) : GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Bytes in use now: by this process on the CPU, by all processes on a CUDA device.</summary>
    internal static long GetCurrentBytes(Device device) =>
        (device.type == DeviceType.CUDA ? CudaDriver.GetUsedBytes(device.index) : null) ?? CurrentBytes;

    /// <summary>The most bytes that were in use. On CUDA this is the current value, because libtorch never gives memory back.</summary>
    internal static long GetPeakBytes(Device device) =>
        (device.type == DeviceType.CUDA ? CudaDriver.GetUsedBytes(device.index) : null) ?? PeakBytes;

    /// <summary>Bytes in use by this process now.</summary>
    public static long CurrentBytes => ReadStatus("VmRSS:") ?? ReadProcess(p => p.WorkingSet64);

    /// <summary>
    /// The most bytes in use since the process started or <see cref="ResetPeak"/> was called. macOS keeps no such number; there it is the
    /// current value.
    /// </summary>
    public static long PeakBytes => ReadStatus("VmHWM:") ?? ReadProcess(p => Math.Max(p.PeakWorkingSet64, p.WorkingSet64));

    /// <summary>Starts a new measurement of the peak. Only Linux supports this; elsewhere the call does nothing.</summary>
    public static void ResetPeak()
    {
        try
        {
            if (OperatingSystem.IsLinux())
                File.WriteAllText("/proc/self/clear_refs", "5");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Some containers do not allow this. The peak then counts from the start of the process.
        }
    }

    /// <summary>
    /// Collects managed garbage and returns the C allocator's free blocks to the system, so that resident memory is the memory in use.
    /// Recovering from it is slow: call it for measurements and after rare large work, not between steps. Without glibc only the garbage is
    /// collected.
    /// </summary>
    public static void ReturnFreeMemory()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        if (!OperatingSystem.IsLinux())
            return;
        try
        {
            _ = malloc_trim(0);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // musl has no malloc_trim; it keeps no large free blocks either.
        }
    }

    [LibraryImport("libc.so.6")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int malloc_trim(nuint pad);

    /// <summary>A field of <c>/proc/self/status</c> that is an amount of memory; null if there is none.</summary>
    internal static long? ReadStatus(string field)
    {
        if (!OperatingSystem.IsLinux())
            return null;
        foreach (var line in File.ReadLines("/proc/self/status"))
        {
            if (line.StartsWith(field, StringComparison.Ordinal))
                // "  1234 kB"
                return 1024 * long.Parse(line.AsSpan(field.Length).Trim()[..^3], NumberStyles.Integer, CultureInfo.InvariantCulture);
        }
        return null;
    }

    private static long ReadProcess(Func<Process, long> read)
    {
        using var process = Process.GetCurrentProcess();
        return read(process);
    }
}
