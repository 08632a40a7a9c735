using System.Globalization;

namespace LongLora.Runtime;

/// <summary>
/// Lets the threads of libtorch's operators sleep soon when they have nothing to do. GNU OpenMP lets them look for work for milliseconds,
/// which takes the core away from the thread that they wait for, if another process needs one too.
/// </summary>
internal static class IdleThreads
{
    // How often a thread looks before it sleeps.
    private const int Looks = 10_000;

    /// <summary>
    /// Sets the limit, on Linux. It counts for a libtorch that is loaded afterwards. A limit or a policy of the user stays
    /// (<c>GOMP_SPINCOUNT</c>, <c>OMP_WAIT_POLICY</c>).
    /// </summary>
    internal static void LetSleep()
    {
        if (OperatingSystem.IsLinux() && Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is null)
            Posix.SetVariable("GOMP_SPINCOUNT", Looks.ToString(CultureInfo.InvariantCulture));
    }
}
