using System.Globalization;

namespace LongLora.Reports;

/// <summary>The numbers on the axes of charts.</summary>
internal static class ChartTicks
{
    /// <summary>Round numbers, evenly spread, from below the smallest value to above the largest, about one more than parts.</summary>
    internal static List<double> ListRound(IEnumerable<double> values, int parts = 4)
    {
        var all = values.ToList();
        var (low, high) = (all.Min(), all.Max());
        if (high - low < 1e-9 * Math.Max(1, Math.Abs(high)))
            (low, high) = (low - 0.5, high + 0.5);
        var rough = (high - low) / parts;
        var power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        var step = new[] { 1, 2, 2.5, 5, 10 }.Select(m => m * power).First(s => s >= rough * 0.999);
        var ticks = new List<double>();
        for (var i = Math.Floor(low / step + 1e-9); ticks.Count == 0 || ticks[^1] < high - step * 1e-9; i++)
            ticks.Add(i * step);
        return ticks;
    }

    /// <summary>Numbers that double, from below the smallest value to above the largest; about eight at most.</summary>
    internal static List<double> ListDoubling(IReadOnlyList<double> values)
    {
        var tick = Math.Pow(2, Math.Floor(Math.Log2(values.Min()) + 1e-9));
        var ticks = new List<double> { tick };
        while (tick < values.Max() * (1 - 1e-9))
            ticks.Add(tick *= 2);
        var every = (ticks.Count + 6) / 8;
        return [.. ticks.Where((_, i) => (ticks.Count - 1 - i) % Math.Max(1, every) == 0 || i == 0)];
    }

    /// <summary>At most eight ticks of an axis of doubled lengths, including the last one.</summary>
    internal static IEnumerable<double> Thin(IReadOnlyList<double> values)
    {
        var every = (values.Count + 7) / 8;
        return values.Where((_, i) => (values.Count - 1 - i) % every == 0);
    }

    /// <summary>Plain numbers with as many digits as a step between two of them needs.</summary>
    internal static Func<double, string> ChooseFormat(double step)
    {
        var digits = Math.Clamp((int)Math.Ceiling(-Math.Log10(step) - 1e-9), 0, 4);
        digits += Math.Abs(step * Math.Pow(10, digits) % 1) > 1e-6 ? 1 : 0; // steps of 2.5
        return value => value.ToString("N" + digits, CultureInfo.InvariantCulture);
    }
}
