using LongLora.Configs;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// D model size, F MLP size

/// <summary>down(activation(gate) · up), the MLP of Llama and most others.</summary>
/// <param name="gate">[.., D] -> [.., F], or [.., 2 F] if gate and up are one layer, gate first.</param>
/// <param name="up">[.., D] -> [.., F]; null if it is part of <paramref name="gate"/>.</param>
/// <param name="activation">activation(gate) · up.</param>
internal sealed class GatedMlp(LinearLayer gate, LinearLayer? up, Func<Tensor, Tensor, Tensor> activation) : DenseMlp
{
    /// <summary>The layers <c>mlp.gate_proj</c>, <c>mlp.up_proj</c> and <c>mlp.down_proj</c>.</summary>
    internal static FeedForward Build(ModelConfig config, LayerBuilder layers, string name, LayerPlan plan) =>
        new GatedMlp(
            layers.AddLinear(name + ".mlp.gate_proj", config.HiddenSize, plan.IntermediateSize, config.MlpBias),
            layers.AddLinear(name + ".mlp.up_proj", config.HiddenSize, plan.IntermediateSize, config.MlpBias),
            Activations.GetGated(config.Activation)
        )
        {
            Output = layers.AddLinear(name + ".mlp.down_proj", plan.IntermediateSize, config.HiddenSize, config.MlpBias),
        };

    /// <summary>The layers <c>mlp.gate_up_proj</c>, gate first, and <c>mlp.down_proj</c>.</summary>
    internal static FeedForward BuildFused(ModelConfig config, LayerBuilder layers, string name, LayerPlan plan) =>
        new GatedMlp(
            layers.AddLinear(name + ".mlp.gate_up_proj", config.HiddenSize, 2L * plan.IntermediateSize, config.MlpBias),
            null,
            Activations.GetGated(config.Activation)
        )
        {
            Output = layers.AddLinear(name + ".mlp.down_proj", plan.IntermediateSize, config.HiddenSize, config.MlpBias),
        };

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Inputs { get; } = up is null ? [gate] : [gate, up];

    /// <inheritdoc/>
    internal override Tensor Activate(IReadOnlyList<Tensor> outputs)
    {
        using var scope = NewDisposeScope();
        Tensor Half(int index) => Inputs.Count == 2 ? outputs[index] : outputs[0].narrow(-1, index * Output.InputSize, Output.InputSize);
        return activation(Half(0), Half(1)).MoveToOuterDisposeScope();
    }
}
