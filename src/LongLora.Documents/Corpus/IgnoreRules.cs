using System.Text;
using System.Text.RegularExpressions;

namespace LongLora.Documents.Corpus;

/// <summary>
/// What a walk through folders skips: hidden files and folders, folders of installed packages, and what <c>.gitignore</c> files list. For
/// source code it also skips folders of build outputs.
/// </summary>
internal sealed class IgnoreRules
{
    private static readonly HashSet<string> s_packages = new(StringComparer.OrdinalIgnoreCase)
    {
        "node_modules",
        "bower_components",
        "__pycache__",
        "site-packages",
        "venv",
    };

    private static readonly HashSet<string> s_outputs = new(StringComparer.OrdinalIgnoreCase)
    {
        "bin",
        "obj",
        "build",
        "dist",
        "out",
        "target",
        "vendor",
        "third_party",
        "generated",
    };

    private readonly IgnoreRules? _above;
    private readonly string _name;
    private readonly List<(Regex Pattern, bool IsFolderOnly, bool IsKept)> _patterns = [];

    /// <summary>The rules of a folder, added to those of its parent folder.</summary>
    public IgnoreRules(string folder, IgnoreRules? above = null)
    {
        (_above, _name) = (above, Path.GetFileName(folder));
        var file = Path.Combine(folder, ".gitignore");
        if (!File.Exists(file))
            return;
        foreach (var line in File.ReadLines(file))
            Add(line.TrimEnd());
    }

    /// <summary>The rules at the start of a walk. Those of the parent folders also apply, up to the one with <c>.git</c>.</summary>
    public static IgnoreRules ReadAt(string folder)
    {
        var above = new Stack<string>();
        for (var at = new DirectoryInfo(folder); at is not null; at = at.Parent)
        {
            above.Push(at.FullName);
            var git = Path.Combine(at.FullName, ".git");
            if (Directory.Exists(git) || File.Exists(git))
                return above.Aggregate((IgnoreRules?)null, (rules, name) => new IgnoreRules(name, rules))!;
        }
        return new IgnoreRules(folder);
    }

    /// <summary>Whether a folder with this name usually contains build outputs or third-party code.</summary>
    public static bool IsOutput(string name) => s_outputs.Contains(name);

    /// <summary>Whether to skip an entry.</summary>
    /// <param name="relative">Its path relative to the folder of these rules, with <c>/</c>.</param>
    /// <param name="isFolder">Whether it is a folder.</param>
    public bool Ignores(string relative, bool isFolder)
    {
        var name = relative[(relative.LastIndexOf('/') + 1)..];
        return name.StartsWith('.') || (isFolder && s_packages.Contains(name)) || Matches(relative, isFolder) == true;
    }

    // The last matching rule decides, and the nearest file takes precedence over those above it.
    private bool? Matches(string relative, bool isFolder)
    {
        for (var i = _patterns.Count - 1; i >= 0; i--)
        {
            var (pattern, isFolderOnly, isKept) = _patterns[i];
            if ((isFolder || !isFolderOnly) && pattern.IsMatch(relative))
                return !isKept;
        }
        return _above is { } above ? above.Matches($"{_name}/{relative}", isFolder) : null;
    }

    private void Add(string line)
    {
        if (line.Length == 0 || line[0] == '#')
            return;
        var isKept = line[0] == '!';
        var pattern = (isKept ? line[1..] : line).TrimStart('\\');
        var isFolderOnly = pattern.EndsWith('/');
        pattern = pattern.TrimEnd('/');
        if (pattern.Length == 0)
            return;
        // A slash before the end ties the pattern to this folder. Otherwise it may match at any depth.
        var isTied = pattern.Contains('/', StringComparison.Ordinal);
        _patterns.Add(
            (
                new Regex($"^{(isTied ? "" : "(?:.*/)?")}{ToRegex(pattern.TrimStart('/'))}$", RegexOptions.CultureInvariant),
                isFolderOnly,
                isKept
            )
        );
    }

    private static string ToRegex(string pattern)
    {
        var regex = new StringBuilder();
        for (var i = 0; i < pattern.Length; i++)
        {
            var rest = pattern.AsSpan(i);
            var close = rest.IndexOf(']');
            if (rest.StartsWith("**/"))
            {
                regex.Append("(?:.*/)?");
                i += 2;
            }
            else if (rest.StartsWith("**"))
            {
                regex.Append(".*");
                i++;
            }
            else if (rest[0] == '[' && close > 1)
            {
                regex
                    .Append('[')
                    .Append(rest[1] == '!' ? "^" : "")
                    .Append(Regex.Escape(rest[(rest[1] == '!' ? 2 : 1)..close].ToString()).Replace("\\-", "-", StringComparison.Ordinal))
                    .Append(']');
                i += close;
            }
            else
                regex.Append(
                    rest[0] switch
                    {
                        '*' => "[^/]*",
                        '?' => "[^/]",
                        var c => Regex.Escape(c.ToString()),
                    }
                );
        }
        return regex.ToString();
    }
}
