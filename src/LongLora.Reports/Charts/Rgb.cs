namespace LongLora.Reports;

/// <summary>A color.</summary>
internal readonly record struct Rgb(byte Red, byte Green, byte Blue)
{
    internal static readonly Rgb White = new(255, 255, 255),
        Black = new(0, 0, 0),
        Ink = new(28, 32, 36),
        Soft = new(95, 107, 118),
        Rule = new(217, 223, 229),
        Empty = new(211, 211, 211);

    /// <summary>Colors of lines, as on pages in light mode. The first two are distinguishable for color-blind people.</summary>
    internal static readonly Rgb[] Lines =
    [
        new(192, 86, 30),
        new(31, 111, 178),
        new(43, 138, 91),
        new(138, 79, 176),
        new(168, 118, 10),
        new(178, 58, 94),
    ];

    private static readonly Rgb[] s_viridis = [new(68, 1, 84), new(59, 82, 139), new(33, 145, 140), new(94, 201, 98), new(253, 231, 37)];

    /// <summary>The color of a score from 0, dark blue, to 1, yellow: Viridis, interpolated linearly between five colors.</summary>
    internal static Rgb ChooseFor(double score)
    {
        var step = Math.Clamp(score, 0, 1) * (s_viridis.Length - 1);
        var low = Math.Min((int)step, s_viridis.Length - 2);
        return s_viridis[low].Mix(s_viridis[low + 1], step - low);
    }

    /// <summary>The color of text on a score's color.</summary>
    internal static Rgb ChooseInkFor(double score) => score > 0.6 ? Black : White;

    /// <summary>Mixes this color with a share of another one.</summary>
    internal Rgb Mix(Rgb other, double share)
    {
        byte Part(byte one, byte two) => (byte)Math.Round(one * (1 - share) + two * share);
        return new(Part(Red, other.Red), Part(Green, other.Green), Part(Blue, other.Blue));
    }
}
