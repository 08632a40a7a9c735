using System.Text.RegularExpressions;
using LongLora.Reports;

namespace LongLora.Tests.Reports;

public partial class SvgChartTests
{
    [Fact]
    public void Draw_writes_whole_steps_once_below_the_axis()
    {
        var svg = SvgChart.Draw([new("loss", [(1, 4.8), (2, 4.6), (3, 4.5)], 1)], "optimizer step", isLog: false);
        Assert.Equal(["1", "2", "3"], Label().Matches(svg).Select(m => m.Groups[1].Value));
        Assert.Contains("aria-label=\"By optimizer step. loss: 4.8 at 1, 4.6 at 2, 4.5 at 3\"", svg, StringComparison.Ordinal);
    }

    [Fact]
    public void Draw_leaves_out_what_is_no_number_and_says_so_where_nothing_is_left()
    {
        var svg = SvgChart.Draw([new("a", [(1, double.NaN), (2, 1)], 0), new("b<c", [(1, 3), (2, 2)], 1)], "tokens", isLog: true);
        Assert.DoesNotContain("NaN", svg, StringComparison.Ordinal);
        Assert.Contains("</i>b&lt;c</span>", svg, StringComparison.Ordinal);
        Assert.Equal(3, Regex.Count(svg, "<circle "));
        Assert.Equal("<p>There are no measurements.</p>", SvgChart.Draw([new("a", [(1, double.NaN)], 0)], "tokens", isLog: true));
    }

    [GeneratedRegex("text-anchor=\"middle\">([^<]*)<")]
    private static partial Regex Label();
}
