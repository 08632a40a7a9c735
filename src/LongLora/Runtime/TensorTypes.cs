using static TorchSharp.torch;

namespace LongLora.Runtime;

internal static class TensorTypes
{
    /// <summary>
    /// The tensor in a type: itself where it has it. <c>to</c> would make another tensor of the same numbers, which takes as long as a
    /// small kernel does.
    /// </summary>
    internal static Tensor In(this Tensor tensor, ScalarType type) => tensor.dtype == type ? tensor : tensor.to(type);
}
