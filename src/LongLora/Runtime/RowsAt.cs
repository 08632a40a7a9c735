using static TorchSharp.torch;

namespace LongLora.Runtime;

/// <summary>
/// Where the rows of a tensor in fp32 or bf16 are, whose numbers follow each other. Loops compute in fp32: they read rows in bf16 as copies
/// and round what they write. The tensor must live on.
/// </summary>
/// <param name="tensor">One that <see cref="Fits"/>.</param>
internal readonly unsafe struct RowsAt(Tensor tensor)
{
    private readonly nint _first = NativeTensor.GetAddress(tensor),
        _stride = tensor.dim() == 1 ? 0 : (nint)(tensor.stride(-2) * tensor.element_size());
    private readonly ScalarType _type = tensor.dtype;

    /// <summary>Whether a tensor's rows are at equal distances: it is contiguous, or some columns of a matrix.</summary>
    public static bool Fits(Tensor tensor) => tensor.dim() > 0 && (tensor.is_contiguous() || (tensor.dim() == 2 && tensor.stride(1) == 1));

    /// <summary>The numbers of a row in fp32: the row itself, or a copy.</summary>
    /// <param name="row">Its index.</param>
    /// <param name="size">Numbers in a row.</param>
    /// <param name="room">Room for a copy.</param>
    public float* Read(long row, long size, float* room) => StoredNumbers.Read(_type, At(row), size, 1, room);

    /// <summary>Where to write the numbers of a row in fp32: the row itself, or some room. <see cref="Close"/> it then.</summary>
    public float* Open(long row, float* room) => _type == ScalarType.Float32 ? (float*)At(row) : room;

    /// <summary>Rounds what was written elsewhere.</summary>
    /// <param name="row">Its index.</param>
    /// <param name="size">Numbers in a row.</param>
    /// <param name="numbers">What <see cref="Open"/> gave.</param>
    public void Close(long row, long size, float* numbers)
    {
        if (_type != ScalarType.Float32)
            StoredNumbers.Write(numbers, 1, size, _type, At(row));
    }

    private nint At(long row) => _first + (nint)row * _stride;
}
