namespace LongLora.Documents.Pdf;

/// <summary>Letters without a space between them. Lengths are points (1/72 inch) from the lower left corner of the page.</summary>
/// <param name="Text">The letters.</param>
/// <param name="Left">Left edge.</param>
/// <param name="Right">Right edge.</param>
/// <param name="Baseline">Height of their line.</param>
/// <param name="Size">Font size.</param>
/// <param name="IsBold">Whether the font is bold.</param>
/// <param name="IsFixed">Whether all letters of the font have the same width, as in code.</param>
internal readonly record struct PdfWord(string Text, double Left, double Right, double Baseline, double Size, bool IsBold, bool IsFixed);

/// <summary>
/// A part of one column without gutters. Its lines are read from top to bottom. Its measures are computed on first use.
/// </summary>
internal sealed class PdfRegion(List<PdfLine> lines)
{
    private double? _right,
        _pitch;

    /// <summary>From top to bottom.</summary>
    public List<PdfLine> Lines { get; } = lines;

    /// <summary>Right edge of the lines.</summary>
    public double Right => _right ??= Lines.Max(l => l.Right);

    /// <summary>Width from the leftmost to the rightmost edge.</summary>
    public double Width => Right - Lines.Min(l => l.Left);

    /// <summary>
    /// Distance between the baselines of neighboring lines: the median, or 1.2 times the font size if there are too few lines.
    /// </summary>
    public double Pitch => _pitch ??= ComputePitch();

    private double ComputePitch()
    {
        var steps = Lines
            .Zip(Lines.Skip(1), (a, b) => (Step: a.Baseline - b.Baseline, a.Size))
            .Where(s => s.Step > 0.5 * s.Size && s.Step < 2.5 * s.Size)
            .Select(s => s.Step)
            .Order()
            .ToList();
        return steps.Count >= 3 ? steps[steps.Count / 2] : 1.2 * Lines[0].Size;
    }
}

/// <summary>One line of a region.</summary>
/// <param name="Text">Its words with spaces between.</param>
/// <param name="Left">Left edge.</param>
/// <param name="Right">Right edge.</param>
/// <param name="Baseline">Height of the line.</param>
/// <param name="Size">Size of most of its letters.</param>
/// <param name="IsBold">Whether nearly all letters are bold.</param>
/// <param name="FirstWordWidth">Width of its first word, which would have had to fit on the line before.</param>
internal sealed record PdfLine(string Text, double Left, double Right, double Baseline, double Size, bool IsBold, double FirstWordWidth)
{
    /// <summary>Width of its last word.</summary>
    public double LastWordWidth { get; init; }

    /// <summary>Whether it looks like a row of a table or of a table of contents. Consecutive lines of this kind are not joined.</summary>
    public bool IsTabular { get; init; }

    /// <summary>Whether nearly all letters have the same width, as in code.</summary>
    public bool IsFixed { get; init; }
}
