using System.Runtime.InteropServices;

namespace LongLora.Runtime;

/// <summary>The version of a libtorch that was not built with this program.</summary>
internal static unsafe class LibTorchVersion
{
    // Those whose functions TorchSharp's library needs: 2.10 and 2.11 load and train to the same bytes, 2.13 lacks some of them.
    private static readonly Version[] s_usable = [new(2, 10), new(2, 11)];

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
    /// <param name="directory">Its folder, for messages.</param>
    /// <exception cref="ConfigurationException">It has another version, or states none.</exception>
    public static void Require(nint library, string directory)
    {
        var version = Read(library);
        if (s_usable.Contains(version))
            return;
        var seen = version?.ToString() ?? "of an unknown version";
        throw new ConfigurationException(
            $"{LibTorch.DirectoryVariable} is '{directory}', which has libtorch {seen}. This build needs "
                + $"{string.Join(" or ", s_usable.Select(v => v.ToString()))}. Give the torch/lib folder of such a PyTorch."
        );
    }
}
