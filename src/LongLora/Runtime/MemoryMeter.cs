using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Resident memory of this process, or memory in use on a GPU.</summary>
public static partial class MemoryMeter
{
    /// <summary>Bytes that a device's memory has; null where they are not known.</summary>
    internal static long? GetAvailableBytes(DeviceType type, int index) =>
        type == DeviceType.CUDA ? CudaDriver.GetTotalBytes(index) : GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Bytes in use where a device computes: of this process on the CPU, of the whole device on CUDA.</summary>
    internal static long GetCurrentBytes(Device device) =>
        (device.type == DeviceType.CUDA ? CudaDriver.GetUsedBytes(device.index) : null) ?? CurrentBytes;

    /// <summary>The most bytes in use: on CUDA those of now, as libtorch gives nothing back.</summary>
    internal static long GetPeakBytes(Device device) =>
        (device.type == DeviceType.CUDA ? CudaDriver.GetUsedBytes(device.index) : null) ?? PeakBytes;

    /// <summary>Bytes now.</summary>
    public static long CurrentBytes => ReadStatus("VmRSS:") ?? ReadProcess(p => p.WorkingSet64);

    /// <summary>
    /// The most bytes since the process began, or since <see cref="ResetPeak"/>. On macOS, which keeps no such number, those of now.
    /// </summary>
    public static long PeakBytes => ReadStatus("VmHWM:") ?? ReadProcess(p => Math.Max(p.PeakWorkingSet64, p.WorkingSet64));

    /// <summary>Begins a new measurement of the peak; does nothing where the system has no such thing (other than Linux).</summary>
    public static void ResetPeak()
    {
        try
        {
            if (OperatingSystem.IsLinux())
                File.WriteAllText("/proc/self/clear_refs", "5");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not allowed in some containers: the peak then counts from the start of the process.
        }
    }

    /// <summary>
    /// Collects managed garbage and hands the C allocator's free blocks back to the system, so that resident memory is what is in use.
    /// Slow to recover from: for measurements, not for use between steps. Without glibc only the garbage is collected.
    /// </summary>
    public static void ReturnFreeMemory()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
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

    private static long? ReadStatus(string field)
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
