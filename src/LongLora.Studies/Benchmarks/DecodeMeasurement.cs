namespace LongLora.Studies;

/// <summary>Speed of inference at one length.</summary>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="PrefillSeconds">Time to read the prompt, the shortest of three.</param>
/// <param name="PrefillFlops">Operations that reading it needs: products and attention, the head for the last token alone.</param>
/// <param name="TokenSeconds">Median time per token, including sampling.</param>
/// <param name="GemmRate">Operations per second of the model's matrix products alone, in the same process.</param>
/// <param name="CacheBytes">Bytes of keys and values.</param>
/// <param name="ShortestTokenSeconds">Shortest time per token.</param>
/// <param name="EmptyTokenSeconds">
/// Shortest time per token of a model with the same blocks but tiny matrices and heads: the same calls with almost nothing to compute. This
/// is the time outside the kernels: this library, TorchSharp, and libtorch's dispatch and fixed costs.
/// </param>
internal sealed record DecodeMeasurement(
    int PromptTokens,
    double PrefillSeconds,
    double PrefillFlops,
    double TokenSeconds,
    double GemmRate,
    long CacheBytes,
    double ShortestTokenSeconds,
    double EmptyTokenSeconds
)
{
    /// <summary>Upper bound for the share of a token's time outside the kernels; fixed costs of the kernels count as outside.</summary>
    public double OverheadShare => EmptyTokenSeconds / ShortestTokenSeconds;
}
