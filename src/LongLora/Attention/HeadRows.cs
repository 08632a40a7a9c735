using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Attention;

/// <summary>
/// Where the rows of heads [B, H, L, K] in fp32 or bf16 are, whose numbers follow each other. Kernels compute in fp32: they read narrow
/// rows as copies, and write rounded ones. The tensor must live on.
/// </summary>
/// <param name="heads">The tensor.</param>
internal readonly unsafe struct HeadRows(Tensor heads)
{
    private readonly nint _first = NativeTensor.GetAddress(heads);
    private readonly ScalarType _type = heads.dtype;
    private readonly long _batch = heads.stride(0),
        _head = heads.stride(1),
        _token = heads.stride(2);

    /// <summary>Whether rows are read where they are, and not as copies.</summary>
    public bool IsSingle => _type == ScalarType.Float32;

    /// <summary>The tensor, or a copy if its numbers are apart.</summary>
    public static Tensor Lay(Tensor heads) => heads.stride(3) == 1 || heads.size(3) == 1 ? heads : heads.contiguous();

    /// <summary>Rows of consecutive tokens in fp32.</summary>
    /// <param name="batch">The text.</param>
    /// <param name="head">The head.</param>
    /// <param name="token">The first token.</param>
    /// <param name="count">Tokens.</param>
    /// <param name="size">K.</param>
    /// <param name="room">Room for a copy, [count, K].</param>
    /// <param name="stride">Numbers from a row to the next.</param>
    /// <returns>The first number of the first row.</returns>
    public float* Read(long batch, long head, long token, int count, int size, float* room, out long stride)
    {
        stride = IsSingle ? Stride : size;
        if (IsSingle)
            return Open(batch, head, token);
        for (var row = 0; row < count; row++)
            StoredNumbers.Read(_type, At(batch, head, token + row), size, 1, room + row * size);
        return room;
    }

    /// <summary>The row of a token in fp32, to be written in place.</summary>
    public float* Open(long batch, long head, long token) => (float*)At(batch, head, token);

    /// <summary>Numbers from a token to the next.</summary>
    public long Stride => _token;

    /// <summary>Writes the row of a token: K numbers times a factor.</summary>
    public void Write(float* numbers, float factor, int size, long batch, long head, long token) =>
        StoredNumbers.Write(numbers, factor, size, _type, At(batch, head, token));

    private nint At(long batch, long head, long token) =>
        _first + (nint)((batch * _batch + head * _head + token * _token) * (IsSingle ? sizeof(float) : sizeof(ushort)));
}
