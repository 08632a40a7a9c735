using System.Runtime.InteropServices;

namespace LongLora.Runtime;

/// <summary>
/// How the C allocator (glibc's) serves libtorch. Results of operations come and go: they lie on a heap that keeps what is freed, since memory
/// that is given back is page-faulted anew at every operation (an element-wise product of 32 MB takes 8 times longer). What waits long,
/// activations above all, is mapped apart: among the results it would break the heap into pieces, which once made a step of 32,768 tokens take 4.8 GB
/// instead of 0.7. Elsewhere than on glibc nothing is changed.
/// </summary>
internal static partial class HostMemory
{
    private const int TrimThreshold = -1, MapThreshold = -3;

    // glibc's largest; the smallest at which a mapping of its own costs nothing that one would notice.
    private const int Results = 32 << 20, Lasting = 1 << 20;

    private static bool s_isGlibc = OperatingSystem.IsLinux();

    /// <summary>Called once, before the first tensor.</summary>
    internal static void Initialize()
    {
        Set(TrimThreshold, int.MaxValue);
        Set(MapThreshold, Results);
    }

    /// <summary>Runs an operation whose result will live long; on the CPU its memory goes back to the system when it is disposed.</summary>
    /// <param name="make">Allocates little beside its result.</param>
    internal static T Apart<T>(Func<T> make)
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
    private static partial int mallopt(int parameter, int value);
}
