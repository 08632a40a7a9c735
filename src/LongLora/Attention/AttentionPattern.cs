namespace LongLora.Attention;

/// <summary>
/// A pattern of causal attention inside attention groups: heads [0, H/2) use <paramref name="Lower"/>, heads [H/2, H)
/// <paramref name="Upper"/>.
/// </summary>
/// <param name="Lower">Groups that cover every token once, in order.</param>
/// <param name="Upper">The same for the upper half of the heads; equal to Lower if all heads do the same.</param>
public sealed record AttentionPattern(IReadOnlyList<TokenGroups> Lower, IReadOnlyList<TokenGroups> Upper)
{
    private readonly bool? _isSplit;

    /// <summary>
    /// Whether the halves of the heads have different groups, so that they are computed apart. Part of a pattern does as the whole, even
    /// where the halves happen to be equal. Default: whether the lists differ.
    /// </summary>
    internal bool IsSplit
    {
        get => _isSplit ?? !Lower.SequenceEqual(Upper);
        init => _isSplit = value;
    }

    /// <summary>How many tokens a token looks at inside its group, itself included.</summary>
    public int Window { get; init; } = int.MaxValue;

    /// <summary>Query-key pairs per head, averaged over both halves: the cost of the pattern.</summary>
    public double PairsPerHead => (CountPairs(Lower) + CountPairs(Upper)) / 2;

    /// <summary>The documents of a row one after the other, each with the pattern of its own length.</summary>
    /// <param name="documents">Lengths of the documents.</param>
    /// <param name="make">Makes the pattern of a length.</param>
    /// <param name="start">Where the first document starts.</param>
    internal static AttentionPattern Join(IReadOnlyList<int> documents, Func<int, AttentionPattern> make, int start = 0)
    {
        List<TokenGroups> lower = [],
            upper = [];
        foreach (var length in documents.Where(d => d > 0))
        {
            var pattern = make(length);
            lower.AddRange(pattern.Lower.Select(g => g with { Start = g.Start + start }));
            upper.AddRange(pattern.Upper.Select(g => g with { Start = g.Start + start }));
            start += length;
        }
        return new(lower, upper);
    }

    /// <summary>The groups that lie in [start, end) as a whole, counted from start.</summary>
    internal AttentionPattern Narrow(int start, int end)
    {
        List<TokenGroups> Within(IEnumerable<TokenGroups> all) =>
            [.. all.Select(g => g.Within(start, end)).OfType<TokenGroups>().Select(g => g with { Start = g.Start - start })];
        return new(Within(Lower), Within(Upper)) { IsSplit = IsSplit, Window = Window };
    }

    private double CountPairs(IReadOnlyList<TokenGroups> groups) =>
        groups.Sum(g => g.Count * (GetTriangle(g.Length) - GetTriangle(Math.Max(0, g.Length - GetGroupWindow(g, Window)))));

    internal static int GetGroupWindow(TokenGroups groups, int window) =>
        groups.Interleaved && window < int.MaxValue ? (window + groups.Count - 1) / groups.Count : window;

    private static double GetTriangle(double side) => side * (side + 1) / 2;
}
