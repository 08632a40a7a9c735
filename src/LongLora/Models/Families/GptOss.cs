using LongLora.Configs;
using LongLora.Layers;

namespace LongLora.Models;

/// <summary>
/// The gpt-oss family (arXiv 2508.10925): biases everywhere, one more logit per head in the softmax, a sliding window in every other layer,
/// YaRN, and a mixture whose experts share one tensor per matrix. Published weights store it in MXFP4.
/// </summary>
internal static class GptOss
{
    internal static ModelFamily Family { get; } = Llama.Derive(new BlockDesign { HasSinks = true, Mlp = Build });

    private static ExpertMlp Build(ModelConfig config, LayerBuilder layers, string name, LayerPlan plan)
    {
        var (experts, model) = (config.Experts!, config.HiddenSize);
        var (count, size, share) = (experts.Count, experts.Size, (double)experts.PerToken / experts.Count);
        var router = new ExpertRouter(
            layers.AddWeight(name + ".mlp.router.weight", WeightRole.Matrix, count, model),
            layers.AddWeight(name + ".mlp.router.bias", WeightRole.Bias, count),
            experts
        );
        var wide = layers.AddExperts(
            new ExpertStack(name + ".mlp.experts.gate_up_proj", model, 2L * size, IsTransposed: true),
            count,
            share
        );
        var wideBias = layers.AddWeight(name + ".mlp.experts.gate_up_proj_bias", WeightRole.Bias, count, 2L * size);
        var down = layers.AddExperts(new ExpertStack(name + ".mlp.experts.down_proj", size, model, IsTransposed: true), count, share);
        var downBias = layers.AddWeight(name + ".mlp.experts.down_proj_bias", WeightRole.Bias, count, model);
        return new ExpertMlp(
            router,
            [
                .. Enumerable
                    .Range(0, count)
                    .Select(
                        DenseMlp (e) =>
                            new ClampedMlp(wide[e], wideBias, e, config.ActivationLimit!.Value, config.ActivationSlope)
                            {
                                Output = down[e],
                                StackedBias = (downBias, e),
                            }
                    ),
            ]
        );
    }
}
