using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>
/// How a family's blocks differ from Llama's: which norms exist, of what kind and with which names; biases; the MLP. The config contains
/// numbers and what differs between layers (<see cref="LayerPlan"/>).
/// </summary>
internal sealed record BlockDesign
{
    /// <summary>The norm before attention; null for none.</summary>
    internal string? AttentionNorm { get; init; } = "input_layernorm";

    /// <summary>The norm after attention, before its result is added; null for none.</summary>
    internal string? AttentionEndNorm { get; init; }

    /// <summary>The norm before the MLP; null for none, or in a parallel block for the one before attention.</summary>
    internal string? MlpNorm { get; init; } = "post_attention_layernorm";

    /// <summary>The norm after the MLP, before its result is added; null for none.</summary>
    internal string? MlpEndNorm { get; init; }

    /// <summary>Makes a norm of the family's kind: layers, name, size, epsilon.</summary>
    internal Func<LayerBuilder, string, long, double, INormLayer> Norm { get; init; } =
        (layers, name, size, epsilon) => layers.AddRmsNorm(name, size, epsilon);

    /// <summary>Names of the norms over queries and keys; null for none.</summary>
    internal (string Query, string Key)? HeadNorms { get; init; }

    /// <summary>Where the norms over queries and keys are applied.</summary>
    internal HeadNormPlace HeadNormPlace { get; init; }

    /// <summary>Whether q, k and v have a bias, and whether o has one.</summary>
    internal Func<ModelConfig, (bool Input, bool Output)> Biases { get; init; } =
        config => (config.AttentionBias, config.AttentionOutputBias ?? config.AttentionBias);

    /// <summary>Makes the MLP: config, layers, name of the block, plan of the layer.</summary>
    internal Func<ModelConfig, LayerBuilder, string, LayerPlan, FeedForward> Mlp { get; init; } = GatedMlp.Build;

    /// <summary>Whether q gives a query and a gate per head. The head's output is multiplied by the gate's sigmoid.</summary>
    internal bool HasOutputGate { get; init; }

    /// <summary>Whether each query head has one more logit in its softmax (<c>self_attn.sinks</c>).</summary>
    internal bool HasSinks { get; init; }
}
