namespace LongLora.Models;

/// <summary>
/// The OLMo 2 and OLMo 3 families (arXiv 2501.00656): norms after attention and MLP and none before them, and a norm over all query heads
/// and one over all key heads of a token. OLMo 3 has sliding windows in three of four layers, and YaRN in the others.
/// </summary>
internal static class Olmo2
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(
            new BlockDesign
            {
                AttentionNorm = null,
                AttentionEndNorm = "post_attention_layernorm",
                MlpNorm = null,
                MlpEndNorm = "post_feedforward_layernorm",
                HeadNorms = ("q_norm", "k_norm"),
                HeadNormPlace = HeadNormPlace.WholeWidth,
            }
        );
}
