using static TorchSharp.torch;

namespace LongLora.Attention;

/// <summary>Keys or values of some tokens in the number type of a cache.</summary>
/// <param name="Numbers">[1, J, n, K]: fp32, bf16, fp16, or codes in int8.</param>
/// <param name="Scales">[1, J, n, 1] fp32, factors on the codes; null for other types.</param>
internal readonly record struct StoredHeads(Tensor Numbers, Tensor? Scales)
{
    /// <summary>n.</summary>
    public long Tokens => Numbers.size(2);

    /// <summary>[1, J, n, K] in another type: the numbers themselves if they have it, else a copy.</summary>
    public Tensor Widen(ScalarType type)
    {
        if (Numbers.dtype == type)
            return Numbers;
        using var scope = NewDisposeScope();
        var wide = Numbers.to(type);
        return (Scales is null ? wide : wide.mul_(Scales)).MoveToOuterDisposeScope();
    }
}
