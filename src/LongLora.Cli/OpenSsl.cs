using System.Runtime.InteropServices;
using LongLora.Runtime;

namespace LongLora.Cli;

/// <summary>
/// OpenSSL, which .NET computes checksums and opens connections with on Linux. Where it is missing, as on minimal images, .NET ends the
/// process in the middle of a command.
/// </summary>
internal static class OpenSsl
{
    /// <summary>Names a version that .NET takes before its own choice.</summary>
    internal const string VersionVariable = "CLR_OPENSSL_VERSION_OVERRIDE";

    /// <summary>Refuses to start without it.</summary>
    /// <exception cref="ConfigurationException">It cannot be loaded.</exception>
    internal static void Require()
    {
        if (OperatingSystem.IsLinux())
            Require(Environment.GetEnvironmentVariable(VersionVariable), name => NativeLibrary.TryLoad(name, out _));
    }

    /// <summary>The same with another way to load.</summary>
    /// <param name="version">What <see cref="VersionVariable"/> says; null for nothing.</param>
    /// <param name="canLoad">Whether a library can be loaded.</param>
    internal static void Require(string? version, Func<string, bool> canLoad)
    {
        string?[] versions = [version, "3", "1.1"];
        var names = versions.Where(v => !string.IsNullOrEmpty(v)).Select(v => $"libssl.so.{v}").ToList();
        if (!names.Exists(name => canLoad(name)))
            throw new ConfigurationException(
                $"Cannot start because none of {string.Join(", ", names)} can be loaded: .NET needs OpenSSL for checksums. Install it: "
                    + "apt-get install libssl3 (Debian, Ubuntu) or dnf install openssl-libs (Fedora, RHEL)."
            );
    }
}
