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

    /// <summary>The elements in order, as flat tensors that follow each other; null if the tensor is made at once.</summary>
    public IEnumerable<Tensor>? Pieces { get; private init; }

    /// <summary>A tensor that is never in memory as a whole.</summary>
    /// <param name="name">Its name in the file.</param>
    /// <param name="type">Its type in the file.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="pieces">Taken one after the other; each still belongs to the caller.</param>
    public static TensorToWrite OfPieces(string name, ScalarType type, IReadOnlyList<long> shape, IEnumerable<Tensor> pieces) =>
        new(name, type, shape, () => throw new NotSupportedException($"'{name}' is made in pieces.")) { Pieces = pieces };

    /// <summary>An existing tensor, which still belongs to the caller.</summary>
    public static TensorToWrite Of(string name, Tensor value) => new(name, value.dtype, value.shape, value.alias);
}
