namespace LongLora.Runtime;

/// <summary>What matrix products on CUDA compute in. Sums, norms, losses, trained weights and optimizer state are fp32 in each.</summary>
public enum CudaCompute
{
    /// <summary>16-bit floating point with 8 bits of precision.</summary>
    Bf16,

    /// <summary>fp32 of which products take 10 bits of the mantissa (TF32): up to 8 times as fast as fp32.</summary>
    Tf32,

    /// <summary>fp32.</summary>
    Fp32,
}
