using System.Buffers.Text;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace LongLora.Runtime;

/// <summary>
/// How the C allocator (glibc's) serves libtorch. Results of operations come and go: they lie on a heap that keeps what is freed, since
/// memory that is given back is page-faulted anew at every operation (an element-wise product of 32 MB takes 8 times longer). What waits
/// long, activations above all, is mapped apart: among the results it would break the heap into pieces, which once made a step of 32,768
/// tokens take 4.8 GB instead of 0.7. Elsewhere than on glibc nothing is changed.
/// </summary>
internal static partial class HostMemory
{
    private const int TrimThreshold = -1,
        MapThreshold = -3;

    // glibc's largest; the smallest at which a mapping of its own costs nothing that one would notice.
    private const int Results = 32 << 20,
        Lasting = 1 << 20;

    private static readonly long GrowthPages = (128L << 20) / Environment.SystemPageSize;

    private static bool s_isGlibc = OperatingSystem.IsLinux();
    private static SafeFileHandle? s_statm;
    private static long s_pagesAfterTrim;

    /// <summary>Called once, before the first tensor.</summary>
    internal static void Initialize()
    {
        Set(TrimThreshold, int.MaxValue);
        Set(MapThreshold, Results);
    }

    /// <summary>Runs an operation whose result will live long; on the CPU its memory goes back to the system when it is disposed.</summary>
    /// <param name="make">Allocates little beside its result.</param>
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
    /// Gives free pieces of the heap back to the system if resident memory has grown by 128 MiB since the last time. To be called between
    /// pieces of work of 10 ms and more, when their results are gone: libtorch asks for aligned blocks, which glibc cannot put back
    /// exactly where one was freed, so a heap that is never trimmed grows to several times what was ever in use.
    /// </summary>
    internal static void TrimIfGrown()
    {
        if (!s_isGlibc || ReadResidentPages() is not { } pages || pages - s_pagesAfterTrim < GrowthPages)
            return;
        _ = malloc_trim(0);
        s_pagesAfterTrim = ReadResidentPages() ?? 0;
    }

    // The second number of /proc/self/statm.
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
