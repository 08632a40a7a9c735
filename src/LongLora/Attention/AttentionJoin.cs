using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

// N groups, H query heads, l queries, K head size

/// <summary>
/// Puts together what the same queries found among two sets of keys, exactly: either result counts by its share exp(s) of the sum
/// exp(s) + exp(s'), with the log-sum-exps s and s'. In bf16 too it is computed in fp32, and rounded once.
/// </summary>
internal static class AttentionJoin
{
    /// <summary>Adds what queries found among more keys, outside autograd.</summary>
    /// <param name="output">[N, H, l, K]; becomes that of all keys.</param>
    /// <param name="logSumExp">[N, H, l] fp32; becomes that of all keys.</param>
    /// <param name="more">[N, H, l, K], of the other keys; its memory is used.</param>
    /// <param name="moreSum">[N, H, l] fp32, of the other keys.</param>
    internal static void Add(Tensor output, Tensor logSumExp, Tensor more, Tensor moreSum)
    {
        using var scope = NewDisposeScope();
        // The share is exp(s) / (exp(s) + exp(s')) = sigmoid(s - s'). In fp32 the last elements of a tensor would be rounded in another way
        // than the others, so the bits of a group would depend on what is computed with it.
        var (wide, whole) = (moreSum.to(ScalarType.Float64), logSumExp.to(ScalarType.Float64));
        var share = wide.sub(whole).sigmoid_().unsqueeze(3).to(ScalarType.Float32);
        output.add_(more.In(ScalarType.Float32).sub_(output).mul_(share), Scalars.One);
        logSumExp.copy_(wide.logaddexp(whole));
    }
}
