using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>The element types of safetensors files that libtorch also has.</summary>
internal static class SafetensorsTypes
{
    private static readonly (string Code, ScalarType Type, int Size)[] s_types =
    [
        ("F64", ScalarType.Float64, 8),
        ("F32", ScalarType.Float32, 4),
        ("F16", ScalarType.Float16, 2),
        ("BF16", ScalarType.BFloat16, 2),
        ("I64", ScalarType.Int64, 8),
        ("I32", ScalarType.Int32, 4),
        ("I16", ScalarType.Int16, 2),
        ("I8", ScalarType.Int8, 1),
        ("U8", ScalarType.Byte, 1),
        ("BOOL", ScalarType.Bool, 1),
    ];

    internal static string Codes => string.Join(", ", s_types.Select(t => t.Code));

    internal static ScalarType? FindType(string code) =>
        Array.FindIndex(s_types, t => t.Code == code) is >= 0 and var i ? s_types[i].Type : null;

    internal static string ToCode(ScalarType type) => Find(type).Code;

    /// <summary>Bytes of one element.</summary>
    internal static int GetSize(ScalarType type) => Find(type).Size;

    private static (string Code, ScalarType Type, int Size) Find(ScalarType type) =>
        Array.FindIndex(s_types, t => t.Type == type) is >= 0 and var i
            ? s_types[i]
            : throw new ShapeException($"Cannot store {type} in a safetensors file. The supported types are {Codes}.");
}
