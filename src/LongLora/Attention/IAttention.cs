using static TorchSharp.torch;

namespace LongLora.Attention;

// B batch, L tokens, H query heads, J key-value heads (a divisor of H), K head size, G group

/// <summary>
/// Which earlier tokens each head of a position looks at. Which attention is used is an argument of the forward pass: a sparse one while
/// training, <see cref="FullAttention"/> for everything else, with the same weights.
/// </summary>
public interface IAttention
{
    /// <summary>softmax(q kᵀ / sqrt(K)) v, causal, with the pairs that this pattern allows; differentiable.</summary>
    /// <param name="query">[B, H, L, K], any strides with K innermost.</param>
    /// <param name="key">[B, J, L, K].</param>
    /// <param name="value">[B, J, L, K].</param>
    /// <param name="segments">
    /// Document lengths in each row, summing to L, where documents may not see each other; null for one document a row.
    /// </param>
    /// <param name="heads">Which of the layer's heads the queries are; null for all of them.</param>
    /// <returns>[B, H, L, K].</returns>
    Tensor Attend(Tensor query, Tensor key, Tensor value, IReadOnlyList<IReadOnlyList<int>>? segments = null, HeadSlice? heads = null);

    /// <summary>As <see cref="Attend"/> outside autograd, keeping what <see cref="Backward"/> needs to compute nothing twice.</summary>
    /// <param name="query">[B, H, L, K], any strides with K innermost.</param>
    /// <param name="key">[B, J, L, K].</param>
    /// <param name="value">[B, J, L, K].</param>
    /// <param name="segments">As for Attend.</param>
    /// <param name="heads">As for Attend.</param>
    /// <param name="into">Where the result is written, without log-sum-exp where it has none; null for new tensors.</param>
    AttentionResult Forward(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? segments = null,
        HeadSlice? heads = null,
        AttentionResult? into = null
    );

    /// <summary>
    /// Whether <see cref="Forward"/> gives log-sum-exps on a device, so that <see cref="Backward"/> computes nothing twice.
    /// </summary>
    /// <param name="device">Where the heads are.</param>
    bool KeepsLogSumExp(Device device);

    /// <summary>Gradients of <see cref="Forward"/>'s arguments, in their layouts.</summary>
    /// <param name="gradient">[B, H, L, K], gradient of the output.</param>
    /// <param name="query">As given to Forward.</param>
    /// <param name="key">As given to Forward.</param>
    /// <param name="value">As given to Forward.</param>
    /// <param name="result">What Forward returned.</param>
    /// <param name="segments">As given to Forward.</param>
    /// <param name="heads">As given to Forward.</param>
    /// <param name="into">Where the gradients are written, whatever was there; null for new tensors.</param>
    (Tensor Query, Tensor Key, Tensor Value) Backward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        AttentionResult result,
        IReadOnlyList<IReadOnlyList<int>>? segments = null,
        HeadSlice? heads = null,
        (Tensor Query, Tensor Key, Tensor Value)? into = null
    );

    /// <summary>
    /// The same attention in which a token looks back over <paramref name="window"/> tokens, itself included: a model's sliding window.
    /// </summary>
    /// <param name="window">W, at least 1.</param>
    IAttention Within(int window);

    /// <summary>
    /// The stretches of tokens in which the heads of each half attend: a row's pattern written down, for plans and tests.
    /// </summary>
    /// <param name="length">L.</param>
    AttentionPattern Pattern(int length);
}

/// <summary>Some consecutive query heads of a layer: [First, First + Count) of Total.</summary>
/// <param name="First">First head.</param>
/// <param name="Count">Number of heads.</param>
/// <param name="Total">H, all query heads of the layer: patterns that treat halves differently cut at H/2.</param>
public readonly record struct HeadSlice(int First, int Count, int Total);

/// <summary>Output of attention with what its backward pass needs.</summary>
/// <param name="Output">[B, H, L, K].</param>
/// <param name="LogSumExp">[B, H, L] fp32; null where the device's backward pass computes the forward pass again (CUDA).</param>
public readonly record struct AttentionResult(Tensor Output, Tensor? LogSumExp);

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

/// <summary>
/// Equal stretches one after the other: [Start, Start + Length), [Start + Length, Start + 2 Length), ...; or, where
/// <paramref name="Interleaved"/>, in turns: the first has the tokens Start, Start + Count, Start + 2 Count, ..., the second those after
/// them.
/// </summary>
/// <param name="Start">First token.</param>
/// <param name="Length">Tokens in one stretch.</param>
/// <param name="Count">Number of stretches.</param>
/// <param name="Interleaved">Whether the stretches take turns.</param>
public readonly record struct Run(int Start, int Length, int Count, bool Interleaved = false)
{
    /// <summary>The token after the last one.</summary>
    public int End => Start + Length * Count;

    /// <summary>
    /// Covers [start, end) by stretches of <paramref name="length"/> tokens, the last one shorter where it does not divide.
    /// </summary>
    public static IEnumerable<Run> Cover(int start, int end, int length)
    {
        var whole = (end - start) / length;
        if (whole > 0)
            yield return new(start, length, whole);
        if (start + whole * length < end)
            yield return new(start + whole * length, end - start - whole * length, 1);
    }
}
