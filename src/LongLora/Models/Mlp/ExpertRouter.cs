using LongLora.Configs;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, D model size, E experts, k chosen ones

/// <summary>Chooses the experts of each token: the k of the largest probability, softmax over all.</summary>
/// <param name="weight">[E, D], not quantized.</param>
/// <param name="bias">[E], or null.</param>
/// <param name="experts">Sizes.</param>
internal sealed class ExpertRouter(Weight weight, Weight? bias, ExpertConfig experts)
{
    /// <summary>Weights [N, k] fp32, differentiable, and indices [N, k] of the chosen experts.</summary>
    /// <param name="rows">[N, D].</param>
    internal (Tensor Weights, Tensor Chosen) Route(Tensor rows)
    {
        using var scope = NewDisposeScope();
        static Tensor Wide(Tensor value) => value.In(ScalarType.Float32);
        var logits = nn.functional.linear(Wide(rows), Wide(weight.Value), bias is null ? null : Wide(bias.Value));
        var probabilities = logits.softmax(-1);
        var (_, chosen) = probabilities.detach().topk(experts.PerToken, -1);
        var weights = probabilities.gather(1, chosen);
        // Where the k are divided by their sum, it is the same as a softmax over these k alone.
        if (experts.NormalizeWeights)
            weights = weights / weights.sum(1, keepdim: true);
        return (weights.MoveToOuterDisposeScope(), chosen.MoveToOuterDisposeScope());
    }
}
