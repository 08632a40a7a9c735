using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>The Mixtral family (arXiv 2401.04088): Mistral's layers with a mixture of experts instead of the MLP.</summary>
internal static class Mixtral
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(
            new BlockDesign
            {
                Mlp = (config, layers, name, _) => Build(config, layers, name + ".block_sparse_moe", "gate", ("w1", "w3", "w2")),
            }
        );

    /// <summary>A mixture whose experts have separate layers.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="layers">Makes the layers.</param>
    /// <param name="name">Name of the mixture.</param>
    /// <param name="router">Name of the router in it.</param>
    /// <param name="parts">Names of an expert's layers.</param>
    internal static FeedForward Build(
        ModelConfig config,
        LayerBuilder layers,
        string name,
        string router,
        (string Gate, string Up, string Down) parts
    )
    {
        var (experts, model) = (config.Experts!, config.HiddenSize);
        var share = (double)experts.PerToken / experts.Count;
        var weight = layers.AddWeight($"{name}.{router}.weight", WeightRole.Matrix, experts.Count, model);
        GatedMlp MakeExpert(int expert)
        {
            LinearLayer Add(string part, long inputs, long outputs) =>
                layers.AddLinear($"{name}.experts.{expert}.{part}", inputs, outputs, share);
            return new(Add(parts.Gate, model, experts.Size), Add(parts.Up, model, experts.Size), new GatedActivation(config.Activation))
            {
                Output = Add(parts.Down, experts.Size, model),
            };
        }
        return new ExpertMlp(
            new ExpertRouter(weight, null, experts),
            [.. Enumerable.Range(0, experts.Count).Select(DenseMlp (e) => MakeExpert(e))]
        );
    }
}
