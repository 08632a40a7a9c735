using static TorchSharp.torch;

namespace LongLora.Runtime;

internal static class TensorTypes
{
    /// <summary>
    /// The tensor in a type; the tensor itself if it already has that type. <c>to</c> would make another tensor object, which takes as long
    /// as a small kernel.
    /// </summary>
    internal static Tensor In(this Tensor tensor, ScalarType type) => tensor.dtype == type ? tensor : tensor.to(type);
}
