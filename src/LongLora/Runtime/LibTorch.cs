using System.Runtime.InteropServices;
using TorchSharp;

namespace LongLora.Runtime;

/// <summary>
/// Loads the native libtorch once, before the first tensor, and sets up the C allocator for large tensors.
/// </summary>
/// <remarks>
/// By default the library is the one that the application took as a package. <c>LONGLORA_LIBTORCH=DIR</c> names another, for example the
/// <c>torch/lib</c> folder of a PyTorch install of the same version with its CUDA libraries; the application is then built with
/// <c>-p:TorchBackend=none</c>. Without the variable such an application takes the PyTorch of the active Python environment.
/// </remarks>
internal static class LibTorch
{
    /// <summary>The environment variable that names a folder with an existing libtorch.</summary>
    public const string DirectoryVariable = "LONGLORA_LIBTORCH";

    private static readonly Lazy<bool> s_loaded = new(LoadOnce, LazyThreadSafetyMode.ExecutionAndPublication);

    /// <summary>Loads libtorch; later calls do nothing. Every entry point of the library calls it.</summary>
    /// <exception cref="ConfigurationException">The native library cannot be loaded; the message says why and what to do.</exception>
    public static void EnsureLoaded() => _ = s_loaded.Value;

    /// <summary>Receives a sentence about the library that was taken from a Python environment.</summary>
    public static Action<string>? Taken { get; set; }

    private static string Remedy =>
        $" Set {DirectoryVariable} to the torch/lib folder of PyTorch {LibTorchVersion.UsableText}, activate its Python environment, or "
        + "reference a libtorch package (libtorch-cpu-linux-x64, TorchSharp-cuda-linux, ...) in the application.";

    // A script runs from the cache of NuGet's packages, where TorchSharp finds libtorch. For a program TorchSharp would copy hundreds of
    // megabytes from there into the program's folder, if this machine happens to have them.
    private static bool IsScript =>
        Path.GetDirectoryName(typeof(torch).Assembly.Location) is not { Length: > 0 } folder
        || !Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory).Equals(folder, StringComparison.Ordinal);

    private static bool IsOutOfMemory(Exception? e) =>
        e is not null
        && (
            e.Message.Contains("cannot allocate memory", StringComparison.OrdinalIgnoreCase)
            || e.Message.Contains("failed to map segment", StringComparison.Ordinal)
            || IsOutOfMemory(e.InnerException)
        );

    private static bool LoadOnce()
    {
        HostMemory.Initialize();
        IdleThreads.LetSleep();
        var directory = Environment.GetEnvironmentVariable(DirectoryVariable);
        try
        {
            if (!string.IsNullOrEmpty(directory))
                LoadFrom(directory, $"{DirectoryVariable} is '{directory}', which");
            else if (!HasOwn(GetFileName("torch_cpu")))
            {
                // TorchSharp would look into the cache of NuGet next, so a wrong version is refused before.
                IReadOnlyList<PythonTorch> installed =
                [
                    .. PythonTorch.FindAll(Environment.GetEnvironmentVariable, OperatingSystem.IsWindows()),
                ];
                if (PythonTorch.Explain(installed) is { } reason)
                    throw new ConfigurationException(reason);
                if (installed.FirstOrDefault(t => t.IsUsable) is { } found)
                {
                    LoadFrom(found.Directory, $"The PyTorch in '{found.Directory}' ({found.Variable})");
                    Taken?.Invoke($"Using libtorch of PyTorch {found.Version} in '{found.Directory}' ({found.Variable}).");
                }
                else if (!IsScript)
                    throw new ConfigurationException("This program has no libtorch of its own." + Remedy);
            }
            else if (OperatingSystem.IsLinux() && FindBeside(GetFileName("torch_cpu")) is { } own)
            {
                // The loader says why it cannot; TorchSharp would search and copy other files, and say something else.
                NativeLibrary.Load(own);
            }
            torch.zeros(1).Dispose();
        }
        catch (Exception e) when (IsOutOfMemory(e))
        {
            throw new ConfigurationException(
                $"Cannot load the native libtorch because the address space of this process is too small{AddressSpace.DescribeLimit()}. It "
                    + "needs about 2 GiB before the model. Raise the limit (ulimit -v), or limit resident memory instead, as with "
                    + "systemd-run -p MemoryMax=8G.",
                e
            );
        }
        catch (Exception e)
            when (e is NotSupportedException or DllNotFoundException or TypeInitializationException or BadImageFormatException)
        {
            throw new ConfigurationException("The native libtorch could not be loaded. " + FindReason(e) + Remedy, e);
        }
        return true;
    }

    // TorchSharp finds its own libLibTorchSharp beside the application and takes a libtorch that is already in the process.
    private static void LoadFrom(string directory, string source)
    {
        var core = Path.Combine(directory, GetFileName("torch_cpu"));
        if (!File.Exists(core))
            throw new ConfigurationException(
                $"{source} has no {Path.GetFileName(core)}. "
                    + $"Set {DirectoryVariable} to the folder that holds libtorch's libraries, such as site-packages/torch/lib."
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
            var path = Path.Combine(directory, GetFileName(name));
            if (!File.Exists(path))
                continue;
            var library = NativeLibrary.Load(path);
            if (name == "torch_cpu")
                LibTorchVersion.Require(library, source);
        }
        var binding = FindBeside(GetFileName("LibTorchSharp"))
            ?? throw new ConfigurationException(
                $"{GetFileName("LibTorchSharp")} is not beside the application ({AppContext.BaseDirectory})."
            );
        NativeLibrary.Load(binding);
    }

    private static string GetFileName(string library) =>
        OperatingSystem.IsWindows() ? library + ".dll"
        : OperatingSystem.IsMacOS() ? $"lib{library}.dylib"
        : $"lib{library}.so";

    // Beside the application, or where the runtime looks for the libraries of its packages.
    private static bool HasOwn(string file) =>
        FindBeside(file) is not null
        || (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Any(folder => File.Exists(Path.Combine(folder, file)));

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
