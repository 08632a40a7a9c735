using LongLora.Configs;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>
/// The Apertus family (arXiv 2509.14233): a norm over each query and key head, and an MLP without a gate. Its activation xIELU (arXiv
/// 2411.13010) has two trained numbers per layer.
/// </summary>
internal static class Apertus
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(
            new BlockDesign
            {
                AttentionNorm = "attention_layernorm",
                MlpNorm = "feedforward_layernorm",
                HeadNorms = ("q_norm", "k_norm"),
                Mlp = Build,
            }
        );

    private static PlainMlp Build(ModelConfig config, LayerBuilder layers, string name, LayerPlan plan)
    {
        var (model, size) = (config.HiddenSize, plan.IntermediateSize);
        var wide = layers.AddLinear(name + ".mlp.up_proj", model, size);
        var output = layers.AddLinear(name + ".mlp.down_proj", size, model);
        var (positive, negative) = (
            layers.AddWeight(name + ".mlp.act_fn.alpha_p", WeightRole.Bias, 1),
            layers.AddWeight(name + ".mlp.act_fn.alpha_n", WeightRole.Bias, 1)
        );
        var (beta, bound) = (layers.AddConstant(name + ".mlp.act_fn.beta", 0.5), layers.AddConstant(name + ".mlp.act_fn.eps", -1e-6));
        return new PlainMlp(wide, x => Xielu(x, positive.Value, negative.Value, beta.Value, bound.Value)) { Output = output };
    }

    // p x² + b x above 0, n (e^min(x, e) - 1 - x) + b x elsewhere, with p = softplus of alpha_p and n = b + softplus of alpha_n.
    private static Tensor Xielu(Tensor x, Tensor positive, Tensor negative, Tensor beta, Tensor bound)
    {
        Tensor Wide(Tensor value) => value.In(x.dtype);
        static Tensor Softplus(Tensor value) => value.logaddexp(zeros_like(value));
        var (b, p) = (Wide(beta), Softplus(Wide(positive)));
        var n = Softplus(Wide(negative)).add(b, Scalars.One);
        var above = x * x * p;
        var below = (minimum(x, Wide(bound)).expm1() - x) * n;
        return where(x.gt(Scalars.Zero), above, below).add(x * b, Scalars.One);
    }
}
