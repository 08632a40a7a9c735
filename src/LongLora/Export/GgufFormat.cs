using LongLora.Runtime;

namespace LongLora.Export;

/// <summary>Element types of GGUF tensors; the numbers are the format's.</summary>
public enum GgufType
{
    /// <summary>32-bit floats.</summary>
    F32 = 0,

    /// <summary>16-bit floats.</summary>
    F16 = 1,

    /// <summary>ggml's Q8_0: blocks of 32 numbers: a 16-bit scale, then 8 bits each; 8.5 bits a number.</summary>
    Q8 = 8,

    /// <summary>bfloat16.</summary>
    Bf16 = 30,
}

/// <summary>What a GGUF file says of a tensor.</summary>
/// <param name="Name">Its name, shorter than 64 bytes.</param>
/// <param name="Type">Its type.</param>
/// <param name="Shape">Its dimensions, outermost first; the file has them the other way round.</param>
public sealed record GgufTensorInfo(string Name, GgufType Type, IReadOnlyList<long> Shape)
{
    /// <summary>Number of elements.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, size) => checked(product * size));

    /// <summary>Bytes that it takes, without padding.</summary>
    public long ByteCount => GgufFormat.Bytes(Type, ElementCount);
}

/// <summary>
/// Numbers of the format (GGUF version 3, as <c>docs/gguf.md</c> of ggml gives it): little-endian, tensors at multiples of 32 bytes.
/// </summary>
internal static class GgufFormat
{
    public const uint Magic = 0x46554747,
        Version = 3; // "GGUF"
    public const int Alignment = 32,
        MaxNameBytes = 63,
        MaxDimensions = 4,
        BlockSize = 32,
        BlockBytes = 34;

    // Codes of the types of values.
    public const int UInt8 = 0,
        Int8 = 1,
        UInt16 = 2,
        Int16 = 3,
        UInt32 = 4,
        Int32 = 5,
        Float32 = 6,
        Bool = 7,
        Text = 8,
        List = 9,
        UInt64 = 10,
        Int64 = 11,
        Float64 = 12;

    /// <summary>Bytes of so many elements.</summary>
    public static long Bytes(GgufType type, long elements) =>
        type switch
        {
            GgufType.F32 => checked(4 * elements),
            GgufType.F16 or GgufType.Bf16 => checked(2 * elements),
            GgufType.Q8 when elements % BlockSize == 0 => checked(elements / BlockSize * BlockBytes),
            GgufType.Q8 => throw new ShapeException($"Q8_0 holds blocks of {BlockSize} numbers; {elements} are no multiple."),
            _ => throw new ShapeException($"GGUF type {type} is not supported."),
        };

    /// <summary>The next multiple of the alignment.</summary>
    public static long Padded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    /// <summary><c>general.file_type</c>: what most matrices are.</summary>
    public static uint FileType(GgufType type) =>
        type switch
        {
            GgufType.F32 => 0,
            GgufType.F16 => 1,
            GgufType.Q8 => 7,
            _ => 32,
        };
}
