using System.Text.RegularExpressions;

namespace LongLora.Tests.Architecture;

/// <summary>
/// The part of the format gate that needs no tool: no line is wider than <c>.editorconfig</c> promises, and CSharpier is set up to keep
/// the rest (<c>dotnet csharpier check .</c>, CONTRIBUTING.md).
/// </summary>
public partial class FormatTests
{
    private const int Columns = 140;

    // Comments, characters and strings from their beginning to their end, so that quotes inside of them are not taken for others.
    [GeneratedRegex(
        """"
            //[^\n]* | /\*.*?\*/ | '(?:[^'\\\n]|\\.)+' | (?<raw>(?<quotes>"{3,}).*?(?<!")\k<quotes>(?!"))
            | \$?@\$?"(?:[^"]|"")*" | "(?:[^"\\\n]|\\.)*"
            """",
        RegexOptions.Singleline | RegexOptions.IgnorePatternWhitespace
    )]
    private static partial Regex Literal();

    [Fact]
    public void No_line_is_wider_than_140_columns()
    {
        var files = Repository.CSharpFiles("src", "tests", "samples", "benchmarks").ToList();
        Assert.True(files.Count > 450, $"{files.Count} files were found");
        Assert.Empty(
            files.SelectMany(file => WideLines(File.ReadAllText(Repository.At(file))).Select(l => $"{file}:{l.Line}: {l.Width} columns"))
        );
    }

    [Fact]
    public void Only_raw_strings_may_be_wider()
    {
        var wide = new string('x', Columns + 1);
        Assert.Equal([(1, 141)], WideLines(wide));
        Assert.Equal([(3, 143)], WideLines($"a\n\"b\"\n//{wide}\n"));
        Assert.Equal([(1, 143)], WideLines($"\"{wide}\""));
        Assert.Equal([(2, 143)], WideLines($"var c = '\"';\n\"{wide}\"\nvar d = '\"';"));
        Assert.Empty(WideLines($"a = \"\"\"\n{wide}\n\"\"\";"));
        Assert.Empty(WideLines($"a = $$\"\"\"{wide}\"\"\";"));
        Assert.Empty(WideLines($"a = \"\"\"\"\n\"\"\"\n{wide}\n\"\"\"\";"));
        Assert.Equal([(4, 141)], WideLines($"a = \"\"\"\nb\n\"\"\";\n{wide}"));
        Assert.Equal([(2, 141)], WideLines($"a = @\"\\\";\n{wide}\n"));
        Assert.Equal([(2, 141)], WideLines($"// it's \"\"\"\n{wide}\n// \"\"\""));
    }

    [Fact]
    public void Formatter_is_set_up_for_the_same_width()
    {
        Assert.Contains($"printWidth: {Columns}\n", Text(".csharpierrc.yaml"), StringComparison.Ordinal);
        Assert.Contains($"max_line_length = {Columns}\n", Text(".editorconfig"), StringComparison.Ordinal);
        Assert.Contains("\"csharpier\"", Text(".config", "dotnet-tools.json"), StringComparison.Ordinal);
        Assert.Contains("dotnet csharpier check .", Text(".github", "workflows", "ci.yml"), StringComparison.Ordinal);
    }

    private static string Text(params string[] path) => File.ReadAllText(Repository.At(path)).ReplaceLineEndings("\n");

    private static List<(int Line, int Width)> WideLines(string source)
    {
        source = source.ReplaceLineEndings("\n");
        var raw = Literal().Matches(source).Where(m => m.Groups["raw"].Success).ToList();
        var (wide, start, number) = (new List<(int, int)>(), 0, 1);
        foreach (var line in source.Split('\n'))
        {
            var (from, to) = (start, start + line.Length);
            if (line.Length > Columns && !raw.Any(m => m.Index < to && m.Index + m.Length > from))
                wide.Add((number, line.Length));
            (start, number) = (to + 1, number + 1);
        }
        return wide;
    }
}
