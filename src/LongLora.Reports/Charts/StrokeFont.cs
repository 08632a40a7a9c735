using System.Globalization;
using System.Text;

namespace LongLora.Reports;

/// <summary>
/// The letters of pictures, as strokes that were drawn for this project (<c>StrokeFont.txt</c>). So no system font is needed, and pictures
/// are the same everywhere.
/// </summary>
internal static class StrokeFont
{
    /// <summary>Units in the size of a text; capitals are 7 units high.</summary>
    internal const double UnitsInSize = 10;

    private const double Gap = 1.7,
        Space = 3,
        DegreesInPoint = 10;

    private static readonly Dictionary<char, (double Width, (double X, double Y)[][] Strokes)> s_glyphs = ReadGlyphs();
    private static readonly (double Width, (double X, double Y)[][] Strokes) s_missing = (
        4,
        [
            [(0, 0), (0, 7), (4, 7), (4, 0), (0, 0)],
        ]
    );

    /// <summary>Strokes of a text in units, y upwards from the baseline, and its width. A missing letter becomes a box.</summary>
    internal static (double Width, List<(double X, double Y)[]> Strokes) Lay(string text)
    {
        var strokes = new List<(double X, double Y)[]>();
        var x = 0.0;
        foreach (var rune in text.EnumerateRunes())
        {
            if (Rune.IsWhiteSpace(rune))
            {
                x += Space;
                continue;
            }
            var (width, glyph) = rune.IsBmp && s_glyphs.TryGetValue((char)rune.Value, out var found) ? found : s_missing;
            strokes.AddRange(glyph.Select(stroke => Array.ConvertAll(stroke, p => (p.X + x, p.Y))));
            x += width + Gap;
        }
        return (Math.Max(0, x - Gap), strokes);
    }

    private static Dictionary<char, (double Width, (double X, double Y)[][] Strokes)> ReadGlyphs()
    {
        using var stream = typeof(StrokeFont).Assembly.GetManifestResourceStream("LongLora.Reports.StrokeFont.txt")!;
        using var reader = new StreamReader(stream);
        return reader
            .ReadToEnd()
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(line => line.Length > 2 && line[1] == ' ' && line[2] is '@' or '-' or (>= '0' and <= '9'))
            .ToDictionary(
                line => line[0],
                line =>
                {
                    var strokes = line[2..].Split(';').Select(ParseStroke).ToArray();
                    return (strokes.Max(s => s.Max(p => p.X)), strokes);
                }
            );
    }

    private static (double X, double Y)[] ParseStroke(string text)
    {
        var points = new List<(double X, double Y)>();
        foreach (var part in text.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            double[] n = [.. part.TrimStart('@').Split(',').Select(t => double.Parse(t, CultureInfo.InvariantCulture))];
            if (n.Length == 2)
            {
                points.Add((n[0], n[1]));
                continue;
            }
            var steps = (int)Math.Ceiling(Math.Abs(n[5] - n[4]) / DegreesInPoint);
            for (var i = 0; i <= steps; i++)
            {
                var (sine, cosine) = Math.SinCos(double.DegreesToRadians(n[4] + (n[5] - n[4]) * i / steps));
                points.Add((n[0] + n[2] * cosine, n[1] + n[3] * sine));
            }
        }
        return [.. points];
    }
}
