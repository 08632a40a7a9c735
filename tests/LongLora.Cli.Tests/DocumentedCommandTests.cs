using System.CommandLine;
using System.Text.RegularExpressions;
using LongLora.Configs;

namespace LongLora.Cli.Tests;

/// <summary>The commands in code blocks of the documentation: all are known to the parser, and those of <c>plan</c> are run.</summary>
public partial class DocumentedCommandTests : CliRun
{
    [GeneratedRegex(@"^\s*(?:\$ )?(?:\S+=\S+ )*(?:mpirun .*?|srun .*?)?(?:\./)?longlora (?<line>[a-z].*)$", RegexOptions.Multiline)]
    private static partial Regex CommandLine();

    [GeneratedRegex(@"^```.*?^```|(?:^    \S.*\n)+", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex CodeBlock();

    private static readonly EnumerationOptions s_all = new() { RecurseSubdirectories = true };

    public static TheoryData<string, string> Commands =>
        [
            .. Directory
                .GetFiles(Repository.At("docs"), "*.md", s_all)
                .Concat(Directory.GetFiles(Repository.At("recipes"), "*.md", s_all))
                .Append(Repository.At("README.md"))
                .Order(StringComparer.Ordinal)
                .SelectMany(file =>
                    ReadCommands(File.ReadAllText(file)).Select(line => (Path.GetRelativePath(Repository.At(), file), line))
                )
                .Distinct(),
        ];

    private static IEnumerable<string> ReadCommands(string page) =>
        CodeBlock()
            .Matches(page)
            .Select(block => Regex.Replace(block.Value, @"\\\n\s*", ""))
            .SelectMany(text => CommandLine().Matches(text))
            .Select(m => Regex.Replace(m.Groups["line"].Value, @"\s+(?:#|[|>&;]|\d>|\.\.\.).*$", "").Trim())
            // What may be left out.
            .Select(line => Regex.Replace(line, @"\[(--[^\]]+)\]", "$1"));

    [Fact]
    public void There_are_many() => Assert.True(Commands.Count > 60, $"only {Commands.Count}");

    [Theory]
    [MemberData(nameof(Commands))]
    public void Command_is_one_that_the_parser_knows(string page, string line)
    {
        using var interruption = new Interruption();
        var error = TextWriter.Null;
        var root = CliApplication.CreateRoot(
            new CliContext(TextReader.Null, error, error, interruption, CliJob.Find(error)),
            new Option<bool>("--verbose") { Recursive = true },
            new Option<bool>("--quiet") { Recursive = true }
        );
        var parsed = root.Parse(line);
        Assert.True(
            parsed.UnmatchedTokens.Count == 0,
            $"{page}: longlora {line}\ndoes not know {string.Join(' ', parsed.UnmatchedTokens)}"
        );
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void Plan_is_made_as_the_page_says(string page, string line)
    {
        if (!line.StartsWith("plan ", StringComparison.Ordinal))
            return;
        // Models and recipes of the reader's own.
        File.WriteAllText(At("run.yaml"), "model: llama-2-7b\ncontext: 65536\ndevice: cuda\n");
        string[] words =
        [
            .. Regex
                .Split(line, " +")
                .Select(w =>
                    w == "run.yaml" ? At(w)
                    : w.StartsWith("recipes/", StringComparison.Ordinal) ? Repository.At(w.Split('/'))
                    : PublishedConfigs.Names.FirstOrDefault(n => $"./{n}".Equals(w, StringComparison.OrdinalIgnoreCase)) ?? w
                ),
        ];
        // Measuring it takes a while.
        if (!words.Contains("--rate"))
            words = [.. words, "--rate", "1000"];
        var (code, output, error) = Run(words);
        Assert.True(code == ExitCode.Done, $"{page}: longlora {line}\n{error}");
        Assert.Contains("together", output, StringComparison.Ordinal);
    }
}
