using System.Diagnostics;
using System.Text.RegularExpressions;

namespace LongLora.Tests.Architecture;

/// <summary>Links between the pages of the repository: each leads to a file that a clone has, and to a heading that is there.</summary>
public partial class LinkTests
{
    [GeneratedRegex(@"^ *(`{3,}).*?^ *\1|`[^`\n]*`", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Code();

    [GeneratedRegex(@"\]\((?![a-z]+:)(?<path>[^)\s#]*)(?:\#(?<heading>[^)\s]*))?\)", RegexOptions.ExplicitCapture)]
    private static partial Regex Link();

    [GeneratedRegex(@"^\#{1,6} +(?<text>.*)$", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [Fact]
    public void Every_relative_link_leads_to_a_tracked_file_and_a_heading_in_it()
    {
        var tracked = ListTracked();
        var pages = tracked.Where(f => f.EndsWith(".md", StringComparison.Ordinal)).ToList();
        Assert.True(pages.Count > 50, $"{pages.Count} pages were found");
        Assert.Empty(pages.SelectMany(page => FindBroken(page, File.ReadAllText(Repository.At(page)), tracked, ReadHeadings)));
    }

    [Fact]
    public void What_leads_nowhere_is_found()
    {
        HashSet<string> tracked = ["README.md", "docs/a.md", "docs/b c/x.png"];
        IReadOnlySet<string> Headings(string page) => new HashSet<string> { page == "docs/a.md" ? "in-a" : "top" };
        string[] Broken(string page, string text) => [.. FindBroken(page, text, tracked, Headings)];
        Assert.Empty(Broken("README.md", "[a](docs/a.md#in-a) [b](docs) [c](https://x.y/z) `[d](none)` ![e](docs/b%20c/x.png) [f](#top)"));
        Assert.Empty(Broken("docs/a.md", "[a](../README.md#top)\n```\n[b](none.md)\n```\n"));
        Assert.Equal(["docs/a.md: README.md"], Broken("docs/a.md", "[a](README.md)"));
        Assert.Equal(["README.md: docs/none.md", "README.md: docs/a.md#top"], Broken("README.md", "[a](docs/none.md)[b](docs/a.md#top)"));
    }

    private static IEnumerable<string> FindBroken(
        string page,
        string text,
        HashSet<string> tracked,
        Func<string, IReadOnlySet<string>> readHeadings
    )
    {
        foreach (Match link in Link().Matches(Code().Replace(text, "")))
        {
            var (path, heading) = (Uri.UnescapeDataString(link.Groups["path"].Value), link.Groups["heading"].Value);
            var target = path.Length == 0 ? page : Resolve(page, path);
            var isThere = tracked.Contains(target) || tracked.Any(f => f.StartsWith(target + "/", StringComparison.Ordinal));
            var isPage = tracked.Contains(target) && target.EndsWith(".md", StringComparison.Ordinal);
            if (!isThere || isPage && heading.Length > 0 && !readHeadings(target).Contains(heading))
                yield return $"{page}: {path}{(heading.Length > 0 ? "#" + heading : "")}";
        }
    }

    // Paths below the root, with forward slashes.
    private static string Resolve(string page, string path)
    {
        var root = Path.GetFullPath(Path.DirectorySeparatorChar.ToString());
        var folder = Path.Combine(root, Path.GetDirectoryName(page)!);
        return Path.GetRelativePath(root, Path.GetFullPath(Path.Combine(folder, path))).Replace('\\', '/').TrimEnd('/');
    }

    // In GitHub's spelling: lower case, hyphens for spaces, no other signs.
    private static IReadOnlySet<string> ReadHeadings(string page) =>
        Heading()
            .Matches(File.ReadAllText(Repository.At(page)).ReplaceLineEndings("\n"))
            .Select(m => Regex.Replace(m.Groups["text"].Value, @"\[([^\]]*)\]\([^)]*\)", "$1").Trim().ToLowerInvariant())
            .Select(text => Regex.Replace(text, @"[^\w\- ]", "").Replace(' ', '-'))
            .ToHashSet();

    private static HashSet<string> ListTracked()
    {
        var git = new ProcessStartInfo("git", ["-C", Repository.At(), "-c", "safe.directory=*", "ls-files", "-z"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        try
        {
            using var process = Process.Start(git)!;
            process.ErrorDataReceived += (_, _) => { };
            process.BeginErrorReadLine();
            var names = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            Assert.SkipWhen(process.ExitCode != 0, "the sources are not a clone");
            return [.. names.Split('\0', StringSplitOptions.RemoveEmptyEntries)];
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("needs git");
            return [];
        }
    }
}
