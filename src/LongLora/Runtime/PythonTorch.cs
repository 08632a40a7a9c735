using System.Globalization;
using System.Text.RegularExpressions;

namespace LongLora.Runtime;

/// <summary>The PyTorch of the active Python environment, for a build that has no libtorch of its own.</summary>
/// <param name="Variable">The environment variable that names the Python environment.</param>
/// <param name="Directory">The folder of its libraries, <c>site-packages/torch/lib</c>.</param>
/// <param name="Version">What <c>torch/version.py</c> says, such as <c>2.10.0+cu128</c>; null if it says nothing.</param>
internal sealed partial record PythonTorch(string Variable, string Directory, string? Version)
{
    // A virtual environment may be active within one of conda, and then Python uses the former.
    private static readonly string[] s_variables = ["VIRTUAL_ENV", "CONDA_PREFIX"];

    /// <summary>Whether its version is one that can be loaded. <see cref="LibTorchVersion.Require"/> asks the library as well.</summary>
    public bool IsUsable =>
        Version is { } text
        && Leading().Match(text) is { Success: true } match
        && LibTorchVersion.IsUsable(new(Number(match.Groups[1]), Number(match.Groups[2])));

    /// <summary>Every PyTorch in the active environments, the preferred one first.</summary>
    /// <param name="variables">Reads environment variables.</param>
    /// <param name="isWindows">Whether folders are laid out as on Windows.</param>
    public static IEnumerable<PythonTorch> FindAll(Func<string, string?> variables, bool isWindows) =>
        from variable in s_variables
        let root = variables(variable)
        where !string.IsNullOrEmpty(root)
        from packages in FindPackages(root, isWindows)
        let torch = Path.Combine(packages, "torch")
        where System.IO.Directory.Exists(Path.Combine(torch, "lib"))
        select new PythonTorch(variable, Path.Combine(torch, "lib"), ReadVersion(Path.Combine(torch, "version.py")));

    /// <summary>Why none of these can be used; null if one can, or if there are none.</summary>
    public static string? Explain(IReadOnlyCollection<PythonTorch> found) =>
        found.FirstOrDefault() is not { } first || found.Any(t => t.IsUsable)
            ? null
            : $"The Python environment of {first.Variable} has PyTorch {first.Version ?? "of an unknown version"} in '{first.Directory}'. "
                + $"This build needs {LibTorchVersion.UsableText}. Install such a PyTorch there, or set {LibTorch.DirectoryVariable} to "
                + "the torch/lib folder of one.";

    private static IEnumerable<string> FindPackages(string root, bool isWindows)
    {
        if (isWindows)
            return [Path.Combine(root, "Lib", "site-packages")];
        var library = Path.Combine(root, "lib");
        return System.IO.Directory.Exists(library)
            ? System
                .IO.Directory.EnumerateDirectories(library, "python3.*")
                .Order(StringComparer.Ordinal)
                .Select(python => Path.Combine(python, "site-packages"))
            : [];
    }

    private static string? ReadVersion(string file) =>
        File.Exists(file) && Assignment().Match(File.ReadAllText(file)) is { Success: true } match ? match.Groups[1].Value : null;

    private static int Number(Group digits) => int.Parse(digits.ValueSpan, CultureInfo.InvariantCulture);

    [GeneratedRegex("""^__version__\s*(?::\s*\w+\s*)?=\s*['"]([^'"]+)['"]""", RegexOptions.Multiline)]
    private static partial Regex Assignment();

    [GeneratedRegex(@"^(\d{1,4})\.(\d{1,4})(?!\d)")]
    private static partial Regex Leading();
}
