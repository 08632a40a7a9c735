namespace LongLora.Attention;

/// <summary>
/// A pattern of causal attention inside attention groups: heads [0, H/2) use <paramref name="Lower"/>, heads [H/2, H)
/// <paramref name="Upper"/>.
/// </summary>
/// <param name="Lower">Groups that cover every token once, in order.</param>
/// <param name="Upper">The same for the upper half of the heads; equal to Lower if all heads do the same.</param>
public sealed record AttentionPattern(IReadOnlyList<TokenGroups> Lower, IReadOnlyList<TokenGroups> Upper)
{
    /// <summary>How many tokens a token looks at inside its group, itself included.</summary>
    public int Window { get; init; } = int.MaxValue;

    /// <summary>Query-key pairs per head, averaged over both halves: the cost of the pattern.</summary>
    public double PairsPerHead => (CountPairs(Lower) + CountPairs(Upper)) / 2;

    private double CountPairs(IReadOnlyList<TokenGroups> groups) =>
        groups.Sum(g => g.Count * (GetTriangle(g.Length) - GetTriangle(Math.Max(0, g.Length - GetGroupWindow(g, Window)))));

    internal static int GetGroupWindow(TokenGroups groups, int window) =>
        groups.Interleaved && window < int.MaxValue ? (window + groups.Count - 1) / groups.Count : window;

    private static double GetTriangle(double side) => side * (side + 1) / 2;
}
