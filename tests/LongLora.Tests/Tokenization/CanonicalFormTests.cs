using System.Globalization;
using System.Text;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

public class CanonicalFormTests
{
    [Fact]
    public void Apply_to_the_lines_of_the_Unicode_test_gives_their_forms()
    {
        var lines = File.ReadLines(SharedMaterial.Golden("tokenizers", "normalization.txt")).Where(l => l[0] != '#').ToList();
        Assert.True(lines.Count > 500);
        foreach (var line in lines)
        {
            var (source, composed, decomposed) = line.Split(';').Select(Read).ToArray() is [var a, var b, var c]
                ? (a, b, c)
                : throw new FormatException(line);
            // Between digits, which compose with nothing, and twice, so that what is around counts too.
            foreach (var (before, after) in (ReadOnlySpan<(string, string)>)[("", ""), ("1", "2"), ("\u4E00" + composed + "1", "\u4E00")])
            {
                Assert.Equal(before + composed + after, TextStep.Rewrite(CanonicalForm.C, before + source + after));
                Assert.Equal(before + composed + after, TextStep.Rewrite(CanonicalForm.C, before + decomposed + after));
            }
            Assert.Equal(decomposed, TextStep.Rewrite(CanonicalForm.D, source));
            Assert.Equal(decomposed, TextStep.Rewrite(CanonicalForm.D, composed));
        }
    }

    [Fact]
    public void Apply_to_a_long_row_of_marks_orders_them()
    {
        var marks = string.Concat(Enumerable.Repeat("\u0301\u0323", 100_000));
        var ordered = TextStep.Rewrite(CanonicalForm.C, "q" + marks);
        Assert.Equal("q" + new string('\u0323', 100_000) + new string('\u0301', 100_000), ordered);
    }

    private static string Read(string codePoints) =>
        string.Concat(
            codePoints
                .Split(' ', StringSplitOptions.RemoveEmptyEntries)
                .Select(c => new Rune(int.Parse(c, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToString())
        );
}
