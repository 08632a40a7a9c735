using System.Buffers.Text;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace LongLora.Runtime;

/// <summary>
/// Tunes glibc's allocator for libtorch. Results of operations are short-lived, so they stay on a heap that keeps freed memory: memory that
/// is returned to the system is page-faulted again at every operation, which makes an element-wise product of 32 MB 8 times slower.
/// Long-lived memory, mostly activations, is mapped separately. On the heap it would cause fragmentation, which once made a step of 32,768
/// tokens take 4.8 GB instead of 0.7. Other allocators are left as they are.
/// </summary>
internal static partial class HostMemory
{
    private const int TrimThreshold = -1,
        MapThreshold = -3;

    // The largest threshold of glibc, and the smallest size at which a separate mapping costs nothing noticeable.
    private const int Results = 32 << 20,
        Lasting = 1 << 20;

    private static readonly long GrowthPages = (128L << 20) / Environment.SystemPageSize,
        StepGrowthPages = (32L << 20) / Environment.SystemPageSize;

    private static bool s_isGlibc = OperatingSystem.IsLinux();
    private static SafeFileHandle? s_statm;
    private static long s_pagesAfterTrim,
        s_pagesAfterStep;

    /// <summary>Called once, before the first tensor is made.</summary>
    internal static void Initialize()
    {
        Set(TrimThreshold, int.MaxValue);
        Set(MapThreshold, Results);
    }

    /// <summary>
    /// Runs an operation whose result lives long. On the CPU its memory returns to the system when the result is disposed.
    /// </summary>
    /// <param name="make">Should allocate little except its result.</param>
    internal static T AllocateApart<T>(Func<T> make)
    {
        Set(MapThreshold, Lasting);
        try
        {
            return make();
        }
        finally
        {
            Set(MapThreshold, Results);
        }
    }

    /// <summary>
    /// Returns free heap memory to the system if resident memory has grown by 128 MiB since the last call. Call it between units of work of
    /// 10 ms or more, when their results are gone. libtorch asks for aligned blocks, and glibc cannot always reuse a freed block for them,
    /// so a heap that is never trimmed grows to several times the memory in use.
    /// </summary>
    internal static void TrimIfGrown()
    {
        if (!s_isGlibc || ReadResidentPages() is not { } pages || pages - s_pagesAfterTrim < GrowthPages)
            return;
        _ = malloc_trim(0);
        s_pagesAfterTrim = ReadResidentPages() ?? 0;
    }

    /// <summary>
    /// Returns free heap memory to the system if resident memory after a step has grown by 32 MiB since it was lowest. Within a step much
    /// more is in use, so <see cref="TrimIfGrown"/> does not see what a step leaves behind, and from step to step that would add up.
    /// </summary>
    internal static void TrimAfterStep()
    {
        if (!s_isGlibc || ReadResidentPages() is not { } pages)
            return;
        if (s_pagesAfterStep > 0 && pages - s_pagesAfterStep >= StepGrowthPages)
        {
            _ = malloc_trim(0);
            pages = ReadResidentPages() ?? pages;
            // What is still there is in use: it is where growth counts from now on.
            s_pagesAfterStep = pages;
        }
        s_pagesAfterStep = s_pagesAfterStep == 0 ? pages : Math.Min(s_pagesAfterStep, pages);
    }

    // Reads the second number of /proc/self/statm.
    private static long? ReadResidentPages()
    {
        s_statm ??= File.OpenHandle("/proc/self/statm");
        Span<byte> text = stackalloc byte[128];
        text = text[..RandomAccess.Read(s_statm, text, 0)];
        text = text[(text.IndexOf((byte)' ') + 1)..];
        return Utf8Parser.TryParse(text, out long pages, out _) ? pages : null;
    }

    private static void Set(int parameter, int value)
    {
        if (!s_isGlibc)
            return;
        try
        {
            _ = mallopt(parameter, value);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            s_isGlibc = false; // musl does not need it
        }
    }

    [LibraryImport("libc.so.6")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int malloc_trim(nuint pad);

    [LibraryImport("libc.so.6")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int mallopt(int parameter, int value);
}
