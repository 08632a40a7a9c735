namespace LongLora.Data;

/// <summary>
/// Shortens examples and keeps their answers. It removes tokens from the middle of the parts that are only read, the longest part first. So
/// their beginnings (the head of the template) and their ends (where questions about a document are) remain. Only if this is not enough,
/// the end of the example is removed.
/// </summary>
internal static class ExampleShortener
{
    // The most tokens that stay on each side of a cut.
    private const int LargestMargin = 32;

    /// <summary>The example with at most <paramref name="length"/> tokens.</summary>
    public static TrainingExample Shorten(TrainingExample example, int length)
    {
        var margin = Math.Clamp(length / 8, 1, LargestMargin);
        var labels = example.Labels ?? example.Ids;
        var kept = new bool[example.Ids.Count];
        Array.Fill(kept, true);
        var excess = kept.Length - length;
        foreach (var (start, end) in Read(labels).OrderByDescending(s => s.End - s.Start).ThenBy(s => s.Start))
        {
            var cut = Math.Clamp(end - start - 2 * margin, 0, Math.Max(0, excess));
            // In the middle of the part.
            Array.Fill(kept, false, start + (end - start - cut) / 2, cut);
            excess -= cut;
        }
        List<int> Kept(IReadOnlyList<int> values) => [.. values.Where((_, i) => kept[i]).Take(length)];
        return example with { Ids = Kept(example.Ids), Labels = Kept(labels) };
    }

    private static List<(int Start, int End)> Read(IReadOnlyList<int> labels)
    {
        var stretches = new List<(int Start, int End)>();
        for (var i = 0; i < labels.Count; i++)
        {
            if (labels[i] != TrainingExample.IgnoredLabel)
                continue;
            if (stretches.Count > 0 && stretches[^1].End == i)
                stretches[^1] = (stretches[^1].Start, i + 1);
            else
                stretches.Add((i, i + 1));
        }
        return stretches;
    }
}
