using BigGustave;
using LongLora.Runtime;

namespace LongLora.Reports;

/// <summary>A pixel image on white: rectangles, antialiased strokes, and text made of strokes.</summary>
/// <param name="width">Pixels in a row.</param>
/// <param name="height">Rows.</param>
internal sealed class Picture(int width, int height)
{
    private readonly Rgb[] _pixels = [.. Enumerable.Repeat(Rgb.White, width * height)];

    /// <summary>Fills a rectangle to whole pixels.</summary>
    internal void Fill(double x, double y, double wide, double high, Rgb color)
    {
        var (left, right) = (Math.Clamp((int)Math.Round(x), 0, width), Math.Clamp((int)Math.Round(x + wide), 0, width));
        for (var row = Math.Max(0, (int)Math.Round(y)); row < Math.Min(height, (int)Math.Round(y + high)); row++)
            Array.Fill(_pixels, color, row * width + left, Math.Max(0, right - left));
    }

    /// <summary>
    /// Draws strokes with round ends. Where they cross, they are no darker than elsewhere; a stroke of one point is a dot.
    /// </summary>
    internal void Draw(IEnumerable<IReadOnlyList<(double X, double Y)>> strokes, double thickness, Rgb color, double opacity = 1)
    {
        var covered = new Dictionary<int, double>();
        foreach (var stroke in strokes)
        {
            for (var i = 0; i < Math.Max(1, stroke.Count - 1); i++)
                Cover(covered, stroke[i], stroke[Math.Min(i + 1, stroke.Count - 1)], thickness / 2);
        }
        foreach (var (pixel, share) in covered)
            _pixels[pixel] = _pixels[pixel].Mix(color, share * opacity);
    }

    /// <summary>Writes a text.</summary>
    /// <param name="x">Position of its start, middle or end.</param>
    /// <param name="y">The baseline.</param>
    /// <param name="text">The text.</param>
    /// <param name="size">Its size; capitals have seven tenths of it.</param>
    /// <param name="color">Its color.</param>
    /// <param name="anchor">What is at <paramref name="x"/>.</param>
    /// <param name="isBold">Whether strokes are thicker.</param>
    internal void Write(double x, double y, string text, double size, Rgb color, TextAnchor anchor = TextAnchor.Start, bool isBold = false)
    {
        var unit = size / StrokeFont.UnitsInSize;
        var (wide, strokes) = StrokeFont.Lay(text);
        var begin = x - wide * unit * (int)anchor / 2;
        Draw(
            strokes.Select(stroke => Array.ConvertAll(stroke, p => (begin + p.X * unit, y - p.Y * unit))),
            size * (isBold ? 0.125 : 0.09),
            color
        );
    }

    /// <summary>Saves the picture as PNG.</summary>
    internal void Save(string path)
    {
        var png = PngBuilder.Create(width, height, hasAlphaChannel: false);
        for (var i = 0; i < _pixels.Length; i++)
            png.SetPixel(_pixels[i].Red, _pixels[i].Green, _pixels[i].Blue, i % width, i / width);
        AtomicFile.Write(path, stream => png.Save(stream));
    }

    // The share of each pixel that is within a distance of a line segment.
    private void Cover(Dictionary<int, double> covered, (double X, double Y) from, (double X, double Y) to, double radius)
    {
        var (dx, dy) = (to.X - from.X, to.Y - from.Y);
        var length = dx * dx + dy * dy;
        var reach = radius + 1;
        var (left, right) = (
            Math.Max(0, (int)(Math.Min(from.X, to.X) - reach)),
            Math.Min(width - 1, (int)(Math.Max(from.X, to.X) + reach))
        );
        var (top, bottom) = (
            Math.Max(0, (int)(Math.Min(from.Y, to.Y) - reach)),
            Math.Min(height - 1, (int)(Math.Max(from.Y, to.Y) + reach))
        );
        for (var row = top; row <= bottom; row++)
        {
            for (var column = left; column <= right; column++)
            {
                var (px, py) = (column + 0.5 - from.X, row + 0.5 - from.Y);
                var along = length > 0 ? Math.Clamp((px * dx + py * dy) / length, 0, 1) : 0;
                var share = Math.Clamp(radius + 0.5 - double.Hypot(px - along * dx, py - along * dy), 0, 1);
                if (share > 0 && share > covered.GetValueOrDefault(row * width + column))
                    covered[row * width + column] = share;
            }
        }
    }
}
