using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>The number format of a stored model.</summary>
internal static class StoredType
{
    /// <summary>The type of the largest tensor that is not quantized; bf16, that of published models, if there is none.</summary>
    public static ScalarType FindMainType(this IModelFiles files) =>
        files
            .Tensors.Values.Where(t => t.Type is ScalarType.Float32 or ScalarType.BFloat16 or ScalarType.Float16)
            .MaxBy(t => t.ElementCount)
            ?.Type
        ?? ScalarType.BFloat16;
}
