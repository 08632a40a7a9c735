using LongLora.Reports;

namespace LongLora.Tests.Reports;

public class StrokeFontTests
{
    private static readonly string s_ascii = string.Concat(Enumerable.Range('!', '~' - '!' + 1).Select(c => (char)c));

    [Fact]
    public void Lay_has_strokes_of_its_own_for_every_letter()
    {
        var glyphs = (s_ascii + "²×–→").Select(c => Write($"{c}")).ToList();
        Assert.Equal(glyphs.Count, glyphs.Distinct().Count());
        Assert.DoesNotContain(Write("\u4e2d"), glyphs);
    }

    [Fact]
    public void Lay_draws_a_box_for_what_it_does_not_have()
    {
        Assert.Equal(Write("\u4e2d\u6587"), Write("\u65e5\u672c"));
        Assert.Equal(Write("\u4e2d"), Write("\U0001F600")); // one box, not one for each half
    }

    [Fact]
    public void Lay_puts_letters_one_behind_the_other()
    {
        var (width, strokes) = StrokeFont.Lay("ll l");
        Assert.Equal(3, strokes.Count);
        Assert.Equal(strokes.Max(s => s.Max(p => p.X)), width, 1e-9);
        var places = strokes.ConvertAll(s => s[0].X);
        Assert.True(places[1] - places[0] > 1 && places[2] - places[1] > places[1] - places[0]);
        Assert.Equal(0, StrokeFont.Lay("").Width);
    }

    [Fact]
    public void Lay_keeps_letters_between_the_lines()
    {
        foreach (var c in s_ascii)
            Assert.All(StrokeFont.Lay($"{c}").Strokes.SelectMany(s => s), p => Assert.InRange(p.Y, -2.6, 8.1));
    }

    private static string Write(string text) => string.Join('|', StrokeFont.Lay(text).Strokes.Select(s => string.Join(' ', s)));
}
