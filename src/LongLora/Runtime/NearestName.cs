namespace LongLora.Runtime;

/// <summary>Guesses which name the user meant.</summary>
internal static class NearestName
{
    /// <summary>The candidate with the fewest changed letters; null if more than a third of its letters differ.</summary>
    public static string? Find(string name, IEnumerable<string> candidates)
    {
        var (best, distance) = candidates
            .Select(c => (Name: c, Distance: MeasureDistance(name, c)))
            .OrderBy(c => c.Distance)
            .FirstOrDefault();
        return best is not null && distance <= Math.Max(1, best.Length / 3) ? best : null;
    }

    /// <summary><c> Did you mean 'x'?</c> with a leading space, or an empty string.</summary>
    public static string Hint(string name, IEnumerable<string> candidates) =>
        Find(name, candidates) is { } nearest ? $" Did you mean '{nearest}'?" : "";

    // Letters that are changed, added, left out, or exchanged with their neighbor (optimal string alignment), row by row.
    private static int MeasureDistance(string a, string b)
    {
        var (before, last, row) = (new int[b.Length + 1], new int[b.Length + 1], Enumerable.Range(0, b.Length + 1).ToArray());
        for (var i = 1; i <= a.Length; i++)
        {
            (before, last, row) = (last, row, before);
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                row[j] = Math.Min(Math.Min(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    row[j] = Math.Min(row[j], before[j - 2] + 1);
            }
        }
        return row[b.Length];
    }
}
