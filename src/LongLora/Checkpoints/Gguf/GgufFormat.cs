using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Constants of the format (GGUF version 3, see <c>docs/gguf.md</c> in ggml): little-endian, tensors at multiples of 32 bytes.
/// </summary>
internal static class GgufFormat
{
    public const uint Magic = 0x46554747, // "GGUF"
        Version = 3;
    public const int Alignment = 32,
        MaxNameBytes = 63,
        MaxDimensions = 4,
        SmallBlock = 32,
        LargeBlock = 256;

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

    // Types that exist but are not supported.
    private static readonly Dictionary<int, string> s_others = new()
    {
        [4] = "Q4_2",
        [5] = "Q4_3",
        [9] = "Q8_1",
        [15] = "Q8_K",
        [16] = "IQ2_XXS",
        [17] = "IQ2_XS",
        [18] = "IQ3_XXS",
        [19] = "IQ1_S",
        [20] = "IQ4_NL",
        [21] = "IQ3_S",
        [22] = "IQ2_S",
        [23] = "IQ4_XS",
        [24] = "I8",
        [25] = "I16",
        [26] = "I32",
        [27] = "I64",
        [28] = "F64",
        [29] = "IQ1_M",
        [31] = "Q4_0_4_4",
        [32] = "Q4_0_4_8",
        [33] = "Q4_0_8_8",
        [34] = "TQ1_0",
        [35] = "TQ2_0",
        [36] = "IQ4_NL_4_4",
        [37] = "IQ4_NL_4_8",
        [38] = "IQ4_NL_8_8",
    };

    /// <summary>The supported types, by their names in the format.</summary>
    public static string Supported => string.Join(", ", Enum.GetValues<GgufType>().Select(Name));

    /// <summary>A type's name in the format, such as <c>Q4_K</c>.</summary>
    public static string Name(GgufType type) => type.ToString().ToUpperInvariant();

    /// <summary>The name of a type by its number, known or not.</summary>
    public static string Name(int type) =>
        Enum.IsDefined((GgufType)type) ? Name((GgufType)type)
        : s_others.TryGetValue(type, out var name) ? name
        : $"number {type}";

    /// <summary>How many consecutive numbers of a row share a block; 1 if there are no blocks.</summary>
    public static int BlockSize(GgufType type) =>
        type switch
        {
            GgufType.F32 or GgufType.F16 or GgufType.Bf16 => 1,
            GgufType.Q2_K or GgufType.Q3_K or GgufType.Q4_K or GgufType.Q5_K or GgufType.Q6_K => LargeBlock,
            _ => SmallBlock,
        };

    /// <summary>Bytes of one block.</summary>
    public static int BlockBytes(GgufType type) =>
        type switch
        {
            GgufType.F32 => 4,
            GgufType.F16 or GgufType.Bf16 => 2,
            GgufType.Q4_0 => 18,
            GgufType.Q4_1 => 20,
            GgufType.Q5_0 => 22,
            GgufType.Q5_1 => 24,
            GgufType.Q8_0 => 34,
            GgufType.Q2_K => 84,
            GgufType.Q3_K => 110,
            GgufType.Q4_K => 144,
            GgufType.Q5_K => 176,
            GgufType.Q6_K => 210,
            GgufType.Mxfp4 => 17,
            _ => throw new ShapeException($"GGUF type {type} is not supported. The supported types are {Supported}."),
        };

    /// <summary>Bytes of a number of elements.</summary>
    /// <exception cref="ShapeException">They do not fill whole blocks.</exception>
    public static long Bytes(GgufType type, long elements) =>
        elements % BlockSize(type) == 0
            ? checked(elements / BlockSize(type) * BlockBytes(type))
            : throw new ShapeException($"{Name(type)} has blocks of {BlockSize(type)} numbers, but {elements} is not a multiple of that.");

    /// <summary>The next multiple of the alignment.</summary>
    public static long Padded(long bytes, long alignment = Alignment) => checked((bytes + alignment - 1) / alignment * alignment);
}
