using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>Where the rows of a tensor in fp32 are, whose numbers follow each other. The tensor must live on.</summary>
/// <param name="tensor">One that <see cref="Fits"/>.</param>
internal readonly unsafe struct RowsAt(Tensor tensor)
{
    private readonly float* _first = (float*)NativeTensor.GetAddress(tensor);
    private readonly long _stride = tensor.dim() == 1 ? 0 : tensor.stride(-2);

    /// <summary>Whether a tensor's rows are at equal distances: it is contiguous, or some columns of a matrix.</summary>
    public static bool Fits(Tensor tensor) => tensor.dim() > 0 && (tensor.is_contiguous() || (tensor.dim() == 2 && tensor.stride(1) == 1));

    /// <summary>The first number of a row.</summary>
    public float* this[long row] => _first + row * _stride;
}
