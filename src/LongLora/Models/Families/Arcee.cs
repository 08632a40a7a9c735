using LongLora.Layers;

namespace LongLora.Models;

/// <summary>The Arcee family (AFM-4.5B): Llama's layers with an MLP without a gate, whose activation is relu(x)².</summary>
internal static class Arcee
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(
            new BlockDesign
            {
                Mlp = (config, layers, name, plan) =>
                    new PlainMlp(
                        layers.AddLinear(name + ".mlp.up_proj", config.HiddenSize, plan.IntermediateSize, config.MlpBias),
                        Activations.Get(config.Activation)
                    )
                    {
                        Output = layers.AddLinear(name + ".mlp.down_proj", plan.IntermediateSize, config.HiddenSize, config.MlpBias),
                    },
            }
        );
}
