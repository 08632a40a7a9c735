namespace LongLora.Runtime;

/// <summary>Finds what somebody may have meant by an unknown name.</summary>
public static class Spelling
{
    /// <summary>A sentence "Did you mean 'x'?" with a space before it, or nothing where no name is near.</summary>
    /// <param name="name">The unknown name.</param>
    /// <param name="known">The known names.</param>
    public static string Suggest(string name, IEnumerable<string> known) =>
        Nearest(name, known) is { } nearest ? $" Did you mean '{nearest}'?" : "";

    /// <summary>The known name with the fewest letters to change, or null where more than a third of the letters would change.</summary>
    public static string? Nearest(string name, IEnumerable<string> known)
    {
        var best = Math.Max(2, name.Length / 3) + 1;
        string? nearest = null;
        foreach (var candidate in known)
        {
            // Names whose lengths differ by more than the bound cannot be nearer.
            if (Math.Abs(candidate.Length - name.Length) >= best)
                continue;
            var distance = Distance(name, candidate);
            if (distance < best)
                (best, nearest) = (distance, candidate);
        }
        return nearest;
    }

    // Levenshtein's distance, one row at a time.
    private static int Distance(string a, string b)
    {
        var row = new int[b.Length + 1];
        for (var j = 0; j <= b.Length; j++)
            row[j] = j;
        for (var i = 1; i <= a.Length; i++)
        {
            var diagonal = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                var above = row[j];
                row[j] = Math.Min(Math.Min(above, row[j - 1]) + 1, diagonal + (char.ToLowerInvariant(a[i - 1]) == char.ToLowerInvariant(b[j - 1]) ? 0 : 1));
                diagonal = above;
            }
        }
        return row[b.Length];
    }
}
