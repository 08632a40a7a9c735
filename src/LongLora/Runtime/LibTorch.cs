using System.Runtime.InteropServices;
using TorchSharp;

namespace LongLora.Runtime;

/// <summary>
/// Loads the native libtorch once, before the first tensor, and sets up the C allocator for large tensors.
/// </summary>
/// <remarks>
/// By default the library is the one that the application took as a package. <c>LONGLORA_LIBTORCH=DIR</c> names another, for example the
/// <c>torch/lib</c> folder of a PyTorch install of the same version with its CUDA libraries; the application is then built with
/// <c>-p:TorchBackend=none</c>.
/// </remarks>
internal static class LibTorch
{
    /// <summary>The environment variable that names a folder with an existing libtorch.</summary>
    public const string DirectoryVariable = "LONGLORA_LIBTORCH";

    private static readonly Lazy<bool> s_loaded = new(LoadOnce, LazyThreadSafetyMode.ExecutionAndPublication);

    /// <summary>Loads libtorch; later calls do nothing. Every entry point of the library calls it.</summary>
    /// <exception cref="ConfigurationException">The native library cannot be loaded; the message says why and what to do.</exception>
    public static void EnsureLoaded() => _ = s_loaded.Value;

    private static bool LoadOnce()
    {
        HostMemory.Initialize();
        var directory = Environment.GetEnvironmentVariable(DirectoryVariable);
        try
        {
            if (!string.IsNullOrEmpty(directory))
                LoadFrom(directory);
            torch.zeros(1).Dispose();
        }
        catch (Exception e)
            when (e is NotSupportedException or DllNotFoundException or TypeInitializationException or BadImageFormatException)
        {
            throw new ConfigurationException(
                "The native libtorch could not be loaded. "
                    + FindReason(e)
                    + " Reference a libtorch package (libtorch-cpu-linux-x64, "
                    + $"TorchSharp-cuda-linux, ...) in the application, or set {DirectoryVariable} to a folder that has one of the same "
                    + $"version.",
                e
            );
        }
        return true;
    }

    // TorchSharp finds its own libLibTorchSharp beside the application and takes a libtorch that is already in the process.
    private static void LoadFrom(string directory)
    {
        var (prefix, suffix) =
            OperatingSystem.IsWindows() ? ("", ".dll")
            : OperatingSystem.IsMacOS() ? ("lib", ".dylib")
            : ("lib", ".so");
        var core = Path.Combine(directory, prefix + "torch_cpu" + suffix);
        if (!File.Exists(core))
            throw new ConfigurationException(
                $"{DirectoryVariable} is '{directory}', but there is no {Path.GetFileName(core)}. "
                    + "Give the folder that holds libtorch's libraries, such as site-packages/torch/lib."
            );
        // TorchSharp would load the packaged one as well, and two in one process end it.
        if (FindBeside(Path.GetFileName(core)) is { } packaged)
        {
            throw new ConfigurationException(
                $"{DirectoryVariable} is '{directory}', but this build has a libtorch of its own ({packaged}). "
                    + "Build the application with -p:TorchBackend=none (LONGLORA_TORCH_BACKEND=none for ./longlora), or unset the variable."
            );
        }
        // The version is asked before TorchSharp makes its first call: with another one that call ends the process.
        foreach (var name in (ReadOnlySpan<string>)["c10", "torch_cpu", "c10_cuda", "torch_cuda", "torch"])
        {
            var path = Path.Combine(directory, prefix + name + suffix);
            if (!File.Exists(path))
                continue;
            var library = NativeLibrary.Load(path);
            if (name == "torch_cpu")
                LibTorchVersion.Require(library, directory);
        }
        var binding = FindBeside(prefix + "LibTorchSharp" + suffix)
            ?? throw new ConfigurationException(
                $"{prefix}LibTorchSharp{suffix} is not beside the application ({AppContext.BaseDirectory})."
            );
        NativeLibrary.Load(binding);
    }

    private static string? FindBeside(string file)
    {
        var candidates = new[]
        {
            Path.Combine(AppContext.BaseDirectory, file),
            Path.Combine(AppContext.BaseDirectory, "runtimes", RuntimeInformation.RuntimeIdentifier, "native", file),
            Path.Combine(AppContext.BaseDirectory, "runtimes", GetPortableIdentifier(), "native", file),
        };
        return Array.Find(candidates, File.Exists);
    }

    private static string GetPortableIdentifier()
    {
        var system =
            OperatingSystem.IsWindows() ? "win"
            : OperatingSystem.IsMacOS() ? "osx"
            : "linux";
        return system + (RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? "-arm64" : "-x64");
    }

    private static string FindReason(Exception e)
    {
        for (var inner = e; inner is not null; inner = inner.InnerException)
        {
            if (inner is DllNotFoundException or BadImageFormatException)
                return inner.Message.Split('\n')[0].TrimEnd() + ".";
        }
        return e.Message.Split('\n')[0].TrimEnd() + ".";
    }
}
