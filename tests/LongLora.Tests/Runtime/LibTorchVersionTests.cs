using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using LongLora.Runtime;

namespace LongLora.Tests.Runtime;

/// <summary>The version of libtorch is known before TorchSharp calls it.</summary>
public class LibTorchVersionTests
{
    // A library that states a version and has nothing else, made by the machine's C compiler.
    private static nint Build(TemporaryFolder folder, string source)
    {
        if (!OperatingSystem.IsLinux())
            Assert.Skip("builds a shared object of Linux");
        var (code, library) = (folder.Text("fake.c", source), folder["libtorch_cpu.so"]);
        try
        {
            using var compiler = Process.Start("gcc", ["-shared", "-fPIC", "-o", library, code]);
            compiler.WaitForExit();
            Assert.Equal(0, compiler.ExitCode);
        }
        catch (Win32Exception)
        {
            Assert.Skip("needs gcc");
        }
        return NativeLibrary.Load(library);
    }

    [Theory]
    [InlineData("0x020A000000000000ULL", "2.10", true)]
    [InlineData("0x020B000000000000ULL", "2.11", true)]
    [InlineData("0x020D000000000000ULL", "2.13", false)]
    [InlineData("0x0209010000000000ULL", "2.9", false)]
    public void Require_takes_versions_that_load_and_refuses_others_by_name(string packed, string version, bool isUsable)
    {
        using var folder = new TemporaryFolder();
        var library = Build(folder, $"unsigned long long aoti_torch_abi_version(void) {{ return {packed}; }}");
        Assert.Equal(version, LibTorchVersion.Read(library)?.ToString());
        var error = Record.Exception(() => LibTorchVersion.Require(library, "The PyTorch in 'the/folder'"));
        if (isUsable)
            Assert.Null(error);
        else
            Assert.All([$"'the/folder' has libtorch {version}.", "2.10 or 2.11", LibTorch.DirectoryVariable], part =>
                Assert.Contains(part, Assert.IsType<ConfigurationException>(error).Message, StringComparison.Ordinal)
            );
        NativeLibrary.Free(library);
    }

    [Fact]
    public void Require_refuses_a_library_that_states_no_version()
    {
        using var folder = new TemporaryFolder();
        var library = Build(folder, "int nothing;");
        Assert.Null(LibTorchVersion.Read(library));
        Assert.Contains("unknown version", Assert.Throws<ConfigurationException>(() => LibTorchVersion.Require(library, "x")).Message);
        NativeLibrary.Free(library);
    }

    [Fact]
    public void Read_of_the_packaged_library_is_usable()
    {
        LibTorch.EnsureLoaded();
        var name =
            OperatingSystem.IsWindows() ? "torch_cpu.dll"
            : OperatingSystem.IsMacOS() ? "libtorch_cpu.dylib"
            : "libtorch_cpu.so";
        var path = Directory.EnumerateFiles(AppContext.BaseDirectory, name, SearchOption.AllDirectories).FirstOrDefault();
        Assert.SkipWhen(path is null, "this build has no libtorch of its own");
        var library = NativeLibrary.Load(path!);
        LibTorchVersion.Require(library, AppContext.BaseDirectory);
        Assert.Equal(2, LibTorchVersion.Read(library)!.Major);
    }
}
