using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A tensor that is to be written, made only when its turn comes. Type and shape are told before, because a file begins with them.
/// </summary>
/// <param name="Name">Its name in the file.</param>
/// <param name="Type">Its type in the file; what is made is converted to it.</param>
/// <param name="Shape">Its dimensions, outermost first.</param>
/// <param name="Value">Makes it; called once, and the result is disposed after it is written.</param>
public sealed record TensorToWrite(string Name, ScalarType Type, IReadOnlyList<long> Shape, Func<Tensor> Value)
{
    /// <summary>Bytes that it takes in the file.</summary>
    public long ByteCount => Shape.Aggregate((long)SafetensorsTypes.GetSize(Type), (product, size) => checked(product * size));

    /// <summary>A tensor that exists, which stays the caller's.</summary>
    public static TensorToWrite Of(string name, Tensor value) => new(name, value.dtype, value.shape, value.alias);
}
