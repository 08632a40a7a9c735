using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>PyTorch's names of the element types.</summary>
internal static class TorchTypes
{
    private static readonly (string Storage, string Name, ScalarType Type)[] s_types =
    [
        ("FloatStorage", "float32", ScalarType.Float32),
        ("HalfStorage", "float16", ScalarType.Float16),
        ("BFloat16Storage", "bfloat16", ScalarType.BFloat16),
        ("DoubleStorage", "float64", ScalarType.Float64),
        ("LongStorage", "int64", ScalarType.Int64),
        ("IntStorage", "int32", ScalarType.Int32),
        ("ShortStorage", "int16", ScalarType.Int16),
        ("CharStorage", "int8", ScalarType.Int8),
        ("ByteStorage", "uint8", ScalarType.Byte),
        ("BoolStorage", "bool", ScalarType.Bool),
    ];

    /// <summary>Whether the name is a storage class with a supported type.</summary>
    public static bool IsStorage(string name) => s_types.Any(t => t.Storage == name);

    /// <summary>Whether the name is a dtype, which some checkpoints store beside their tensors.</summary>
    public static bool IsElementType(string name) => s_types.Any(t => t.Name == name);

    /// <summary>The type of a storage class.</summary>
    public static ScalarType FindType(string name) => s_types.First(t => t.Storage == name).Type;

    /// <summary>The storage class of a type.</summary>
    public static string FindStorage(ScalarType type) =>
        s_types.FirstOrDefault(t => t.Type == type).Storage ?? throw new Runtime.ShapeException($"Cannot write {type} to a PyTorch file.");
}
