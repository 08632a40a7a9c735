namespace LongLora.Reports;

/// <summary>Draws the document lengths of a corpus.</summary>
internal static class LengthPlot
{
    private const int Width = 500,
        Height = 250,
        Left = 56,
        Right = 20,
        Top = 58,
        Bottom = 48;

    /// <summary>
    /// Draws two bars for each range of lengths, its share of the documents and of all tokens, and writes a PNG of 1000 x 500 pixels.
    /// </summary>
    /// <param name="path">The file to write.</param>
    /// <param name="bins">Name of each range, number of documents, and their total length; if empty, nothing is written.</param>
    /// <param name="unit">Unit of the lengths: tokens or characters.</param>
    /// <param name="title">Heading.</param>
    public static void Save(string path, IReadOnlyList<(string Range, long Documents, long Length)> bins, string unit, string title)
    {
        if (bins.Count == 0)
            return;
        double[][] shares = [ComputeShares(bins.Select(b => b.Documents)), ComputeShares(bins.Select(b => b.Length))];
        var ticks = ChartTicks.ListRound(shares.SelectMany(s => s).Append(0));
        double Y(double share) => Top + (ticks[^1] - share) / ticks[^1] * (Height - Top - Bottom);

        var canvas = new PictureCanvas(Width, Height);
        canvas.DrawHeading(title);
        canvas.DrawText(Left, Top - 14, "share (%)", TextAnchor.Start);
        canvas.DrawLegend(Width - Right, Top - 14, [("of the documents", 1, false), ($"of all {unit}", 0, false)]);
        var format = ChartTicks.ChooseFormat(ticks[1] - ticks[0]);
        foreach (var tick in ticks)
        {
            canvas.DrawRule(Left, Width - Right, Y(tick));
            canvas.DrawText(Left - 7, Y(tick) + 4, format(tick), TextAnchor.End);
        }
        var slot = (double)(Width - Left - Right) / bins.Count;
        var every = (bins.Count + 13) / 14; // as many labels as fit
        for (var i = 0; i < bins.Count; i++)
        {
            var middle = Left + slot * (i + 0.5);
            canvas.FillRectangle(new(middle - 0.4 * slot, Y(shares[0][i]), 0.39 * slot, Y(0) - Y(shares[0][i])), Rgb.Lines[1]);
            canvas.FillRectangle(new(middle + 0.01 * slot, Y(shares[1][i]), 0.39 * slot, Y(0) - Y(shares[1][i])), Rgb.Lines[0]);
            if (i % every == 0)
                canvas.DrawText(middle, Height - Bottom + 17, bins[i].Range, TextAnchor.Middle);
        }
        canvas.DrawText((Width + Left) / 2.0, Height - 8, $"{unit} per document, from", TextAnchor.Middle);
        canvas.Save(path);
    }

    private static double[] ComputeShares(IEnumerable<long> counts)
    {
        double[] all = [.. counts.Select(c => (double)c)];
        var sum = all.Sum();
        return [.. all.Select(c => sum > 0 ? 100 * c / sum : 0)];
    }
}
