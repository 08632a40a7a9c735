namespace LongLora.Models;

/// <summary>The GLM-4-0414 family: GLM's layers with norms before and after each branch.</summary>
internal static class Glm4
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(
            new BlockDesign
            {
                AttentionEndNorm = "post_self_attn_layernorm",
                MlpEndNorm = "post_mlp_layernorm",
                Mlp = GatedMlp.BuildFused,
            }
        );
}
