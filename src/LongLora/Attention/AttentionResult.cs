using static TorchSharp.torch;

namespace LongLora.Attention;

/// <summary>Output of attention with what its backward pass needs.</summary>
/// <param name="Output">[B, H, L, K].</param>
/// <param name="LogSumExp">[B, H, L] fp32; null where the device's backward pass computes the forward pass again (CUDA).</param>
public readonly record struct AttentionResult(Tensor Output, Tensor? LogSumExp);
