namespace LongLora.Attention;

/// <summary>
/// A pattern of causal attention inside stretches of tokens: heads [0, H/2) use <paramref name="Lower"/>, heads [H/2, H)
/// <paramref name="Upper"/>.
/// </summary>
/// <param name="Lower">Runs that cover the tokens once, in order.</param>
/// <param name="Upper">Likewise; equal to Lower where all heads do the same.</param>
public sealed record AttentionPattern(IReadOnlyList<Run> Lower, IReadOnlyList<Run> Upper)
{
    /// <summary>How many tokens a token looks at inside its stretch, itself included.</summary>
    public int Window { get; init; } = int.MaxValue;

    /// <summary>Query-key pairs that one head of each half computes, on average: the cost of the pattern.</summary>
    public double PairsPerHead => (Pairs(Lower) + Pairs(Upper)) / 2;

    private double Pairs(IReadOnlyList<Run> runs) =>
        runs.Sum(r => r.Count * (Triangle(r.Length) - Triangle(Math.Max(0, r.Length - WindowInside(r, Window)))));

    internal static int WindowInside(Run run, int window) =>
        run.Interleaved && window < int.MaxValue ? (window + run.Count - 1) / run.Count : window;

    private static double Triangle(double side) => side * (side + 1) / 2;
}
