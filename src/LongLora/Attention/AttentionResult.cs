using static TorchSharp.torch;

namespace LongLora.Attention;

/// <summary>The output of attention and what its backward pass needs.</summary>
/// <param name="Output">[B, H, L, K].</param>
/// <param name="LogSumExp">[B, H, L] fp32; null if the backward pass of the device repeats the forward pass (CUDA).</param>
public readonly record struct AttentionResult(Tensor Output, Tensor? LogSumExp);
