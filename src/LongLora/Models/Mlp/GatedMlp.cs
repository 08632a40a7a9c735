using LongLora.Configs;
using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// D model size, F MLP size

/// <summary>down(activation(gate) · up), the MLP of Llama and most others.</summary>
/// <param name="gate">[.., D] -> [.., F], or [.., 2 F] if gate and up are one layer, gate first.</param>
/// <param name="up">[.., D] -> [.., F]; null if it is part of <paramref name="gate"/>.</param>
/// <param name="activation">activation(gate) · up.</param>
internal sealed class GatedMlp(LinearLayer gate, LinearLayer? up, GatedActivation activation) : DenseMlp
{
    /// <summary>The layers <c>mlp.gate_proj</c>, <c>mlp.up_proj</c> and <c>mlp.down_proj</c>.</summary>
    internal static FeedForward Build(ModelConfig config, LayerBuilder layers, string name, LayerPlan plan) =>
        new GatedMlp(
            layers.AddLinear(name + ".mlp.gate_proj", config.HiddenSize, plan.IntermediateSize, config.MlpBias),
            layers.AddLinear(name + ".mlp.up_proj", config.HiddenSize, plan.IntermediateSize, config.MlpBias),
            new GatedActivation(config.Activation)
        )
        {
            Output = layers.AddLinear(name + ".mlp.down_proj", plan.IntermediateSize, config.HiddenSize, config.MlpBias),
        };

    /// <summary>The layers <c>mlp.gate_up_proj</c>, gate first, and <c>mlp.down_proj</c>.</summary>
    internal static FeedForward BuildFused(ModelConfig config, LayerBuilder layers, string name, LayerPlan plan) =>
        new GatedMlp(
            layers.AddLinear(name + ".mlp.gate_up_proj", config.HiddenSize, 2L * plan.IntermediateSize, config.MlpBias),
            null,
            new GatedActivation(config.Activation)
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
        return activation.Forward(SelectHalf(outputs, 0), SelectHalf(outputs, 1)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    internal override IReadOnlyList<Tensor> Differentiate(IReadOnlyList<Tensor> outputs, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        IReadOnlyList<Tensor> gradients = [.. outputs.Select(o => empty_like(o))];
        activation.Backward(SelectHalf(outputs, 0), SelectHalf(outputs, 1), gradient, SelectHalf(gradients, 0), SelectHalf(gradients, 1));
        return [.. gradients.Select(g => g.MoveToOuterDisposeScope())];
    }

    private Tensor SelectHalf(IReadOnlyList<Tensor> outputs, int index) =>
        outputs.Count == 2 ? outputs[index] : outputs[0].narrow(-1, index * Output.InputSize, Output.InputSize);
}
