namespace LongLora.Checkpoints;

#pragma warning disable CA1707 // Underscores: these are the format's own names.

/// <summary>
/// Supported element types of GGUF tensors. All can be read, and those in <c>GgufEncoder.Types</c> written. The numbers are the format's. A
/// quantized type has blocks of consecutive numbers of a row: <see cref="GgufFormat.BlockSize(GgufType)"/>.
/// </summary>
internal enum GgufType
{
    /// <summary>32-bit floats.</summary>
    F32 = 0,

    /// <summary>16-bit floats.</summary>
    F16 = 1,

    /// <summary>Blocks of 32: a scale and 4 bits each; 4.5 bits per number.</summary>
    Q4_0 = 2,

    /// <summary>Blocks of 32: a scale, a minimum and 4 bits each; 5 bits per number.</summary>
    Q4_1 = 3,

    /// <summary>Blocks of 32: a scale and 5 bits each; 5.5 bits per number.</summary>
    Q5_0 = 6,

    /// <summary>Blocks of 32: a scale, a minimum and 5 bits each; 6 bits per number.</summary>
    Q5_1 = 7,

    /// <summary>Blocks of 32: a scale and 8 bits each; 8.5 bits per number.</summary>
    Q8_0 = 8,

    /// <summary>Blocks of 256 in 16 parts with scales and minima of 4 bits, and 2 bits each; 2.625 bits per number.</summary>
    Q2_K = 10,

    /// <summary>Blocks of 256 in 16 parts with scales of 6 bits, and 3 bits each; 3.4375 bits per number.</summary>
    Q3_K = 11,

    /// <summary>Blocks of 256 in 8 parts with scales and minima of 6 bits, and 4 bits each; 4.5 bits per number.</summary>
    Q4_K = 12,

    /// <summary>Blocks of 256 in 8 parts with scales and minima of 6 bits, and 5 bits each; 5.5 bits per number.</summary>
    Q5_K = 13,

    /// <summary>Blocks of 256 in 16 parts with scales of 8 bits, and 6 bits each; 6.5625 bits per number.</summary>
    Q6_K = 14,

    /// <summary>bfloat16.</summary>
    Bf16 = 30,

    /// <summary>Blocks of 32: a power of two and 4-bit floats (E2M1); 4.25 bits per number.</summary>
    Mxfp4 = 39,
}
