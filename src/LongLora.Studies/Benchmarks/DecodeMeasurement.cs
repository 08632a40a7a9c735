namespace LongLora.Studies;

/// <summary>Speed of inference at one length.</summary>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="PrefillSeconds">Time to read the prompt, the shortest of three.</param>
/// <param name="PrefillFlops">Operations that reading it needs: products and attention, the head for the last token alone.</param>
/// <param name="TokenSeconds">Time of one further token, its choice included: the median.</param>
/// <param name="GemmRate">Operations per second of the model's matrix products alone, in the same process.</param>
/// <param name="CacheBytes">Bytes of keys and values.</param>
/// <param name="ShortestTokenSeconds">The shortest of those times.</param>
/// <param name="EmptyTokenSeconds">
/// Shortest time of one token of a model with the same blocks, in which every matrix and head has next to no numbers: the same calls, and
/// nothing to compute. What is left is outside the kernels: this library, TorchSharp, and libtorch's own dispatch and fixed costs.
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
    /// <summary>Share of a token's time outside the kernels, at most: the fixed costs of the kernels count as outside.</summary>
    public double OverheadShare => EmptyTokenSeconds / ShortestTokenSeconds;
}
