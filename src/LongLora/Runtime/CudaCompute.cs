namespace LongLora.Runtime;

/// <summary>The precision of matrix products on CUDA. Sums, norms, losses, trained weights and optimizer state are always fp32.</summary>
public enum CudaCompute
{
    /// <summary>16-bit floating point with 8 bits of precision.</summary>
    Bf16,

    /// <summary>fp32 whose products use 10 bits of the mantissa (TF32): up to 8 times as fast as fp32.</summary>
    Tf32,

    /// <summary>fp32.</summary>
    Fp32,
}
