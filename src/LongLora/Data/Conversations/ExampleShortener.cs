namespace LongLora.Data;

/// <summary>
/// Shortens examples and keeps their answers. It removes tokens from the middle of the parts that are only read, the longest part first. So
/// their beginnings (the head of the template) and their ends (where questions about a document are) remain, and what the template wrote
/// between messages stays whole. Only if this is not enough, the end of the example is removed.
/// </summary>
internal static class ExampleShortener
{
    // The most tokens that stay on each side of a cut.
    private const int LargestMargin = 32;

    /// <summary>
    /// The example with at most <paramref name="length"/> tokens, and how many of its answers have lost their end, or all of their text.
    /// </summary>
    /// <param name="example">The example.</param>
    /// <param name="length">The most tokens.</param>
    /// <param name="isMark">For each token whether the template wrote it, so that it stays; null if none is known.</param>
    public static (TrainingExample Example, int CutAnswers) Shorten(TrainingExample example, int length, IReadOnlyList<bool>? isMark = null)
    {
        var margin = Math.Clamp(length / 8, 1, LargestMargin);
        var labels = example.Labels ?? example.Ids;
        var kept = new bool[example.Ids.Count];
        Array.Fill(kept, true);
        var excess = kept.Length - length;
        foreach (var stretch in Find(labels, isLearned: false).OrderByDescending(s => s.End - s.Start).ThenBy(s => s.Start))
        {
            var cut = Choose(stretch, margin, Math.Max(0, excess), isMark);
            foreach (var token in cut)
                kept[token] = false;
            excess -= cut.Count;
        }
        var all = Enumerable.Range(0, kept.Length).Where(i => kept[i]).Take(length).ToList();
        List<int> Kept(IReadOnlyList<int> values) => all.ConvertAll(i => values[i]);
        var end = all.Count == 0 ? 0 : all[^1] + 1;
        return (example with { Ids = Kept(example.Ids), Labels = Kept(labels) }, Find(labels, isLearned: true).Count(s => s.End > end));
    }

    // Tokens in the middle of a stretch. Marks are passed over only where they are in the way.
    private static List<int> Choose((int Start, int End) stretch, int margin, int most, IReadOnlyList<bool>? isMark)
    {
        var inner = Enumerable.Range(stretch.Start + margin, Math.Max(0, stretch.End - stretch.Start - 2 * margin)).ToList();
        List<int> Middle(List<int> tokens)
        {
            var count = Math.Min(tokens.Count, most);
            return tokens.GetRange((tokens.Count - count) / 2, count);
        }
        var cut = Middle(inner);
        return isMark is null || !cut.Exists(i => isMark[i]) ? cut : Middle(inner.FindAll(i => !isMark[i]));
    }

    private static List<(int Start, int End)> Find(IReadOnlyList<int> labels, bool isLearned)
    {
        var stretches = new List<(int Start, int End)>();
        for (var i = 0; i < labels.Count; i++)
        {
            if (labels[i] != TrainingExample.IgnoredLabel != isLearned)
                continue;
            if (stretches.Count > 0 && stretches[^1].End == i)
                stretches[^1] = (stretches[^1].Start, i + 1);
            else
                stretches.Add((i, i + 1));
        }
        return stretches;
    }
}
