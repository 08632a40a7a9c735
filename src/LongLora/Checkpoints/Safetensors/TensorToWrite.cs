using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A tensor to write, made only when it is needed. Type and shape are announced in advance, because a file begins with them.
/// </summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Type">Its type in the file; the tensor is converted to it.</param>
/// <param name="Shape">Its dimensions, outermost first.</param>
/// <param name="Value">Makes the tensor. It is called once, and the result is disposed after writing.</param>
internal sealed record TensorToWrite(string Name, ScalarType Type, IReadOnlyList<long> Shape, Func<Tensor> Value)
{
    /// <summary>Bytes that it takes in the file.</summary>
    public long ByteCount => Shape.Aggregate((long)SafetensorsTypes.GetSize(Type), (product, size) => checked(product * size));

    /// <summary>An existing tensor, which still belongs to the caller.</summary>
    public static TensorToWrite Of(string name, Tensor value) => new(name, value.dtype, value.shape, value.alias);
}
