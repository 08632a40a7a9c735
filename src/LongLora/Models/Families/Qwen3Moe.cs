namespace LongLora.Models;

/// <summary>
/// The mixtures of the Qwen3 family (arXiv 2505.09388): Qwen3's layers with a mixture of experts instead of the MLP, in all layers or in
/// those that the config names.
/// </summary>
internal static class Qwen3Moe
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(
            new BlockDesign
            {
                HeadNorms = ("q_norm", "k_norm"),
                Mlp = (config, layers, name, plan) =>
                    plan.HasExperts
                        ? Mixtral.Build(config, layers, name + ".mlp", "gate", ("gate_proj", "up_proj", "down_proj"))
                        : GatedMlp.Build(config, layers, name, plan),
            }
        );
}
