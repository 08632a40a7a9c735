using LongLora.Configs;

namespace LongLora.Tests.Models;

/// <summary>
/// Models that a text of some thousand tokens takes through several passes over the heads, several tiles of the MLP and many windows.
/// </summary>
internal static class ManyPieces
{
    /// <summary>The config of a family's model with 8 heads of 32 numbers and a wide MLP.</summary>
    internal static ModelConfig Describe(string type, int length, int layers)
    {
        const int heads = 8,
            size = 32;
        return new ModelConfig
        {
            ModelType = type,
            LinearAttention = new LinearAttentionConfig
            {
                KeyHeadCount = 2,
                ValueHeadCount = 4,
                KeySize = 8,
                ValueSize = 16,
                ConvolutionSize = 4,
            },
            HiddenSize = type == "gpt_neox" ? heads * size : size,
            IntermediateSize = 1024,
            LayerCount = layers,
            TokenInputs = type == "gemma4_text" ? new TokenInputConfig { Size = 8, VocabularySize = 100 } : null,
            HeadCount = heads,
            KeyValueHeadCount = type == "gpt_neox" ? heads : 4,
            HeadSize = size,
            RotarySize = type is "phi3" or "gpt_neox" or "glm4" ? size / 4 : size,
            InterleavedRotation = type == "glm4",
            VocabularySize = 100,
            MaxPositions = length,
            AttentionBias = type is "gpt_neox" or "gpt_oss",
            ParallelResidual = type is "gpt_neox",
            ScoreCap = type == "gemma2" ? 2 : null,
            LogitCap = type == "gemma2" ? 3 : null,
            Experts =
                type == "gpt_oss"
                    ? new ExpertConfig
                    {
                        Count = 4,
                        PerToken = 2,
                        Size = 64,
                    }
                    : null,
            ActivationLimit = 7,
            Activation = type == "gpt_neox" ? "gelu" : "silu",
            SlidingWindow = type is "gpt_neox" or "llama" ? null : 100,
        };
    }
}
