using LongLora.Runtime;

namespace LongLora.Tests.Runtime;

/// <summary>Which PyTorch of the active Python environments is taken, by its version file alone.</summary>
public sealed class PythonTorchTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    // A PyTorch install as pip leaves it, without its libraries.
    private string Install(string environment, string? version, string packages = "lib/python3.12/site-packages")
    {
        var torch = _folder[environment, packages, "torch"];
        Directory.CreateDirectory(Path.Combine(torch, "lib"));
        if (version is not null)
            File.WriteAllText(
                Path.Combine(torch, "version.py"),
                $"from typing import Optional\n\n__all__ = ['__version__', 'debug']\n__version__ = '{version}'\ndebug = False\n"
            );
        return Path.Combine(torch, "lib");
    }

    private List<PythonTorch> FindAll(string? virtualEnvironment, string? conda = null, bool isWindows = false) =>
        [
            .. PythonTorch.FindAll(
                name =>
                    name switch
                    {
                        "VIRTUAL_ENV" => virtualEnvironment is null ? null : _folder[virtualEnvironment],
                        "CONDA_PREFIX" => conda is null ? null : _folder[conda],
                        _ => null,
                    },
                isWindows
            ),
        ];

    [Theory]
    [InlineData("2.10.0", true)]
    [InlineData("2.10.0+cu128", true)]
    [InlineData("2.11.0+cu130", true)]
    [InlineData("2.11.0a0+git0123abc", true)]
    [InlineData("2.13.0", false)]
    [InlineData("2.1.0", false)]
    [InlineData("2.100.0", false)]
    [InlineData("12.10.0", false)]
    [InlineData("dev", false)]
    [InlineData(null, false)]
    public void FindAll_reads_the_version(string? version, bool isUsable)
    {
        var library = Install("env", version);
        Assert.Equal(new PythonTorch("VIRTUAL_ENV", library, version), Assert.Single(FindAll("env")));
        Assert.Equal(isUsable, FindAll("env")[0].IsUsable);
        Assert.Equal(isUsable, PythonTorch.Explain(FindAll("env")) is null);
    }

    [Fact]
    public void FindAll_looks_into_both_environments_and_where_windows_keeps_packages()
    {
        Install("env", "2.13.0");
        var conda = Install("conda", "2.11.0", "lib/python3.14/site-packages");
        Assert.Equal(["VIRTUAL_ENV", "CONDA_PREFIX"], FindAll("env", "conda").Select(t => t.Variable));
        Assert.Equal(conda, FindAll("env", "conda").First(t => t.IsUsable).Directory);
        Assert.Null(PythonTorch.Explain(FindAll("env", "conda")));

        var windows = Install("win", "2.10.0", "Lib/site-packages");
        Assert.Equal(windows.Replace('\\', '/'), Assert.Single(FindAll("win", isWindows: true)).Directory.Replace('\\', '/'));
        Assert.Empty(FindAll(null));
        Assert.Empty(FindAll("absent"));
        Directory.CreateDirectory(_folder["bare", "lib", "python3.12", "site-packages"]);
        Assert.Empty(FindAll("bare"));
    }

    [Fact]
    public void Explain_names_version_environment_and_what_is_needed()
    {
        var library = Install("env", "2.13.0+cpu");
        var told = PythonTorch.Explain(FindAll("env"))!;
        Assert.All(["VIRTUAL_ENV", "PyTorch 2.13.0+cpu", $"'{library}'", "2.10 or 2.11", LibTorch.DirectoryVariable], part =>
            Assert.Contains(part, told, StringComparison.Ordinal)
        );
        Assert.Null(PythonTorch.Explain([]));
    }
}
