namespace LongLora.Attention;

/// <summary>
/// Equal attention groups that one kernel call computes. They follow each other: [Start, Start + Length),
/// [Start + Length, Start + 2 Length), ... If <paramref name="Interleaved"/>, they alternate instead: the first group has the tokens
/// Start, Start + Count, Start + 2 Count, ..., and each further group starts one token later.
/// </summary>
/// <param name="Start">First token.</param>
/// <param name="Length">Tokens in one group.</param>
/// <param name="Count">Number of groups.</param>
/// <param name="Interleaved">Whether the groups alternate token by token.</param>
public readonly record struct TokenGroups(int Start, int Length, int Count, bool Interleaved = false)
{
    /// <summary>The token after the last one.</summary>
    public int End => Start + Length * Count;

    /// <summary>The first token of each group; of interleaved groups, which cannot be parted, only that of the first one.</summary>
    internal IEnumerable<int> Starts
    {
        get
        {
            for (var i = 0; i < (Interleaved ? 1 : Count); i++)
                yield return Start + i * Length;
        }
    }

    /// <summary>
    /// Covers [start, end) with groups of <paramref name="length"/> tokens. The last one is shorter if the length does not divide.
    /// </summary>
    public static IEnumerable<TokenGroups> Cover(int start, int end, int length)
    {
        var whole = (end - start) / length;
        if (whole > 0)
            yield return new(start, length, whole);
        if (start + whole * length < end)
            yield return new(start + whole * length, end - start - whole * length, 1);
    }

    /// <summary>The groups that lie in [start, end) as a whole; null if there are none.</summary>
    internal TokenGroups? Within(int start, int end)
    {
        if (Interleaved)
            return Start >= start && End <= end ? this : null;
        var first = Math.Max(0, (start - Start + Length - 1) / Length);
        var last = Math.Min(Count, (end - Start) / Length);
        return first < last ? new(Start + first * Length, Length, last - first) : null;
    }

    /// <summary>The group that a border before a token divides, or all interleaved ones; null if it divides none.</summary>
    internal TokenGroups? FindDivided(int border)
    {
        if (border <= Start || border >= End)
            return null;
        if (Interleaved)
            return this;
        var inside = (border - Start) % Length;
        return inside == 0 ? null : new(border - inside, Length, 1);
    }
}
