namespace LongLora.Runtime;

/// <summary>
/// The number format of activations and of the operands of matrix products. Sums, norms, rotary positions, losses, trained weights,
/// gradients and optimizer state are always fp32.
/// </summary>
public enum ComputePrecision
{
    /// <summary>
    /// On CUDA bf16, or fp32 on devices older than Ampere. On the CPU bf16 if the processor multiplies it (AVX512-BF16 or AMX) and the
    /// model is stored in 16 bits; otherwise fp32.
    /// </summary>
    Auto,

    /// <summary>16-bit floating point with 8 bits of precision. On processors that cannot multiply it, slower than fp32.</summary>
    Bf16,

    /// <summary>On CUDA only: fp32 whose products use 10 bits of the mantissa (TF32), up to 8 times as fast as fp32.</summary>
    Tf32,

    /// <summary>fp32.</summary>
    Fp32,
}
