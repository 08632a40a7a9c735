using System.Runtime.InteropServices;

namespace LongLora.Runtime;

/// <summary>The version of a libtorch that was not built with this program.</summary>
internal static unsafe class LibTorchVersion
{
    // Those whose functions TorchSharp's library needs: 2.10 and 2.11 load and train to the same bytes, 2.13 lacks some of them.
    private static readonly Version[] s_usable = [new(2, 10), new(2, 11)];

    /// <summary>The versions that can be loaded, for messages.</summary>
    public static string UsableText => string.Join(" or ", s_usable.Select(v => v.ToString()));

    /// <summary>Whether a version, major and minor, can be loaded.</summary>
    public static bool IsUsable(Version? version) => s_usable.Contains(version);

    /// <summary>The version that a library states; null if it does not, as before 2.1.</summary>
    /// <param name="library">The loaded <c>torch_cpu</c>.</param>
    public static Version? Read(nint library)
    {
        // Major version in the highest byte, minor version in the next one.
        if (!NativeLibrary.TryGetExport(library, "aoti_torch_abi_version", out var function))
            return null;
        var packed = ((delegate* unmanaged<ulong>)function)();
        return new Version((int)(packed >> 56), (int)(packed >> 48 & 0xFF));
    }

    /// <summary>Refuses a library of another version.</summary>
    /// <param name="library">The loaded <c>torch_cpu</c>.</param>
    /// <param name="source">Which library it is, for messages: a sentence up to <c>has</c>.</param>
    /// <exception cref="ConfigurationException">It has another version, or states none.</exception>
    public static void Require(nint library, string source)
    {
        var version = Read(library);
        if (IsUsable(version))
            return;
        var seen = version?.ToString() ?? "of an unknown version";
        throw new ConfigurationException(
            $"{source} has libtorch {seen}. This build needs {UsableText}. Set {LibTorch.DirectoryVariable} to the torch/lib folder of "
                + "such a PyTorch."
        );
    }
}
