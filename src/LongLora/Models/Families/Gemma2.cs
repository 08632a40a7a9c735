namespace LongLora.Models;

/// <summary>
/// The Gemma 2 family (arXiv 2408.00118): norms with a scale of 1 + w before and after each branch, GELU, caps on scores and logits, and a
/// sliding window in every other layer.
/// </summary>
internal static class Gemma2
{
    /// <summary>Gemma 3 uses it too.</summary>
    internal static BlockDesign Design { get; } =
        new()
        {
            AttentionEndNorm = "post_attention_layernorm",
            MlpNorm = "pre_feedforward_layernorm",
            MlpEndNorm = "post_feedforward_layernorm",
            Norm = (layers, name, size, epsilon) => layers.AddOffsetRmsNorm(name, size, epsilon),
        };

    internal static ModelFamily Family { get; } = Llama.Derive(Design);
}
