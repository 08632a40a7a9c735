namespace LongLora.Models;

/// <summary>
/// The EXAONE 4 family (arXiv 2507.11407): norms after attention and MLP and none before them, a norm over each query and key head. Large
/// sizes have sliding windows in three of four layers, and no positions in the others.
/// </summary>
internal static class Exaone4
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
            }
        );
}
