using TorchSharp;

namespace LongLora.Checkpoints;

/// <summary>What a header says about a tensor.</summary>
/// <param name="Name">Its full name, such as <c>model.layers.0.self_attn.q_proj.weight</c>.</param>
/// <param name="Type">The stored type.</param>
/// <param name="Shape">Its dimensions, outermost first.</param>
/// <param name="File">The file that contains it, for messages.</param>
internal sealed record TensorInfo(string Name, torch.ScalarType Type, IReadOnlyList<long> Shape, string File)
{
    /// <summary>
    /// The name of the type in which the file holds it, such as <c>Q4_K</c>, where that has blocks and <see cref="Type"/> is what it is
    /// widened to; null if it is stored in its type.
    /// </summary>
    public string? Blocks { get; init; }

    /// <summary>Number of elements.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>Bytes that it takes in its file.</summary>
    public long ByteCount => ElementCount * SafetensorsTypes.GetSize(Type);
}
