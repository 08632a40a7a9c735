using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

/// <summary>Where the rows of heads [B, H, L, K] in fp32 are, whose numbers follow each other. The tensor must live on.</summary>
/// <param name="heads">The tensor.</param>
internal readonly unsafe struct HeadRows(Tensor heads)
{
    private readonly float* _first = (float*)NativeTensor.GetAddress(heads);
    private readonly long _batch = heads.stride(0),
        _head = heads.stride(1);

    /// <summary>Numbers from a token to the next.</summary>
    public long Stride { get; } = heads.stride(2);

    /// <summary>The tensor, or a copy if its numbers are apart.</summary>
    public static Tensor Lay(Tensor heads) => heads.stride(3) == 1 || heads.size(3) == 1 ? heads : heads.contiguous();

    /// <summary>The first number of a token.</summary>
    public float* At(long batch, long head, long token) => _first + batch * _batch + head * _head + token * Stride;
}
