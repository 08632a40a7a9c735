using LongLora.Runtime;

namespace LongLora.Checkpoints;

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
