namespace LongLora.Checkpoints;

/// <summary>The header entry of a tensor.</summary>
/// <param name="Name">Its name, shorter than 64 bytes.</param>
/// <param name="Type">Its type.</param>
/// <param name="Shape">Its dimensions, outermost first; the file has them in reverse order.</param>
internal sealed record GgufTensorInfo(string Name, GgufType Type, IReadOnlyList<long> Shape)
{
    /// <summary>Number of elements.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, size) => checked(product * size));

    /// <summary>Its bytes, without padding.</summary>
    public long ByteCount => GgufFormat.Bytes(Type, ElementCount);
}
