using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace LongLora.Cli.Tests;

/// <summary>
/// The program without a libtorch of its own, in a process of its own: which library it takes, and how it ends with a wrong one.
/// </summary>
public class LibTorchChoiceTests : CliRun
{
    private static readonly string s_native = Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native");

    // A copy of the program as -p:TorchBackend=none builds it. Without deps.json every library beside it is taken.
    private string CopyProgram()
    {
        Assert.SkipUnless(
            OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64,
            "copies the program of Linux"
        );
        Directory.CreateDirectory(At("program"));
        foreach (var library in Directory.EnumerateFiles(AppContext.BaseDirectory, "*.dll"))
            File.Copy(library, At("program", Path.GetFileName(library)));
        const string configuration = "LongLora.Cli.runtimeconfig.json",
            binding = "libLibTorchSharp.so";
        File.Copy(Path.Combine(AppContext.BaseDirectory, configuration), At("program", configuration));
        File.Copy(Path.Combine(s_native, binding), At("program", binding));
        return At("program", "LongLora.Cli.dll");
    }

    private (int Code, string Output, string Error) Start(params (string Name, string Value)[] variables)
    {
        var start = new ProcessStartInfo(
            Environment.ProcessPath is { } host && Path.GetFileNameWithoutExtension(host) == "dotnet" ? host : "dotnet",
            [CopyProgram(), "plan", "--model", "llama-2-7b", "--context", "4096", "--device", "cpu", "--rate", "1"]
        )
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var name in (string[])["VIRTUAL_ENV", "CONDA_PREFIX", "LONGLORA_LIBTORCH"])
            start.Environment.Remove(name);
        foreach (var (name, value) in variables)
            start.Environment[name] = value;
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output.Result, error);
    }

    // An environment whose PyTorch is of this version.
    private string Install(string version, Action<string> addLibraries)
    {
        var torch = At("env", "lib", "python3.12", "site-packages", "torch");
        Directory.CreateDirectory(torch);
        File.WriteAllText(Path.Combine(torch, "version.py"), $"__version__ = '{version}'\n");
        addLibraries(Path.Combine(torch, "lib"));
        return Path.Combine(torch, "lib");
    }

    // Only states a version.
    private void BuildLibrary(string folder, string packed)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(At("fake.c"), $"unsigned long long aoti_torch_abi_version(void) {{ return {packed}ULL; }}");
        try
        {
            using var compiler = Process.Start("gcc", ["-shared", "-fPIC", "-o", Path.Combine(folder, "libtorch_cpu.so"), At("fake.c")]);
            compiler.WaitForExit();
            Assert.Equal(0, compiler.ExitCode);
        }
        catch (Win32Exception)
        {
            Assert.Skip("needs gcc");
        }
    }

    [Fact]
    public void Library_of_a_wrong_version_ends_the_program_with_code_2()
    {
        BuildLibrary(At("lib"), "0x020D000000000000");
        var (code, _, error) = Start(("LONGLORA_LIBTORCH", At("lib")));
        Assert.True(code == ExitCode.Usage, $"exit code {code}: {error}");
        Assert.Equal(
            $"LONGLORA_LIBTORCH is '{At("lib")}', which has libtorch 2.13. This build needs 2.10 or 2.11. Set LONGLORA_LIBTORCH to the "
                + "torch/lib folder of such a PyTorch.",
            error.Trim()
        );
    }

    [Fact]
    public void Pytorch_of_the_active_environment_is_taken_and_named()
    {
        Assert.SkipUnless(File.Exists(Path.Combine(s_native, "libtorch_cpu.so")), "this build has no libtorch of its own");
        var library = Install("2.10.0+cpu", folder => Directory.CreateSymbolicLink(folder, s_native));
        var (code, output, error) = Start(("VIRTUAL_ENV", At("env")));
        Assert.True(code == ExitCode.Done, $"exit code {code}: {error}");
        Assert.Equal($"Using libtorch of PyTorch 2.10.0+cpu in '{library}' (VIRTUAL_ENV).", error.Trim());
        Assert.Contains("longest context", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Pytorch_of_a_wrong_version_in_the_active_environment_is_refused_by_name()
    {
        Install("2.13.0", folder => Directory.CreateDirectory(folder));
        var (code, _, error) = Start(("CONDA_PREFIX", At("env")));
        Assert.True(code == ExitCode.Usage, $"exit code {code}: {error}");
        Assert.Contains("CONDA_PREFIX has PyTorch 2.13.0", error, StringComparison.Ordinal);
        Assert.Contains("2.10 or 2.11", error, StringComparison.Ordinal);
    }

    // The version file may be wrong; the library itself is asked too.
    [Fact]
    public void Pytorch_whose_library_has_another_version_than_it_says_is_refused()
    {
        Install("2.10.0", folder => BuildLibrary(folder, "0x020D000000000000"));
        var (code, _, error) = Start(("VIRTUAL_ENV", At("env")));
        Assert.True(code == ExitCode.Usage, $"exit code {code}: {error}");
        Assert.Contains("has libtorch 2.13.", error, StringComparison.Ordinal);
    }

    // TorchSharp would copy one from the cache of NuGet's packages into the folder of the program.
    [Fact]
    public void No_libtorch_at_all_is_said_and_nothing_is_copied()
    {
        var (code, _, error) = Start();
        Assert.True(code == ExitCode.Usage, $"exit code {code}: {error}");
        Assert.StartsWith("This program has no libtorch of its own. Set LONGLORA_LIBTORCH to", error, StringComparison.Ordinal);
        Assert.DoesNotContain("TorchSharp: LoadNativeBackend", error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(At("program", "cpu")));
    }
}
