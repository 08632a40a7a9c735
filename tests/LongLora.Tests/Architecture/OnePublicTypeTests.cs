using System.Text.RegularExpressions;

namespace LongLora.Tests.Architecture;

/// <summary>Each public type lies in a file of its own name: what one looks for is found by its name.</summary>
public partial class OnePublicTypeTests
{
    // A declaration at the left margin: in a file-scoped namespace that is every type that is not nested.
    [GeneratedRegex(
        @"^public (?:(?:static|sealed|abstract|partial|readonly|ref|unsafe) )*"
            + @"(?:(?:class|struct|interface|enum|record(?: class| struct)?) (?<name>\w+)|delegate [^(;]+? (?<name>\w+)(?:<[^(]*>)?\()",
        RegexOptions.Multiline
    )]
    private static partial Regex PublicType();

    [Fact]
    public void Public_types_lie_in_files_of_their_names()
    {
        var files = Repository.CSharpFiles("src").ToList();
        Assert.True(files.Count > 300, $"{files.Count} files were found");
        Assert.Empty(files.SelectMany(file => Misplaced(file, File.ReadAllText(Repository.At(file)))));
    }

    [Theory]
    [InlineData("public sealed partial class One<T> : Base\n{\n    public class Nested;\n}\n", "")]
    [InlineData("public static class One;\ninternal class Two;\n", "")]
    [InlineData("public class Other;\n", "One.cs has Other")]
    [InlineData("public sealed record One(int A);\n\npublic readonly record struct Two(int A);\n", "One.cs has Two")]
    [InlineData("public interface IOne\n{ }\npublic enum Two\n{ A }\n", "One.cs has IOne, One.cs has Two")]
    [InlineData("public delegate int Two<T>(T a);\n", "One.cs has Two")]
    [InlineData("public record One;\npublic record class Two { }\npublic ref struct Three;\n", "One.cs has Two, One.cs has Three")]
    public void Types_of_other_names_are_seen(string source, string expected) =>
        Assert.Equal(expected, string.Join(", ", Misplaced("One.cs", source)));

    private static IEnumerable<string> Misplaced(string file, string source) =>
        PublicType()
            .Matches(source.ReplaceLineEndings("\n"))
            .Select(match => match.Groups["name"].Value)
            .Where(name => name != Path.GetFileNameWithoutExtension(file))
            .Select(name => $"{file} has {name}");
}
