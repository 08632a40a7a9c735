namespace LongLora.Checkpoints;

#pragma warning disable CA1707 // Underscores: these are the names that llama.cpp's users know.

/// <summary>
/// The type of most matrices of a GGUF file, and which matrices differ. The numbers are those of <c>general.file_type</c>.
/// </summary>
public enum GgufFileType
{
    /// <summary>32-bit floats.</summary>
    F32 = 0,

    /// <summary>16-bit floats.</summary>
    F16 = 1,

    /// <summary>4.5 bits per weight: Q4_0, the head Q6_K.</summary>
    Q4_0 = 2,

    /// <summary>8.5 bits per weight: Q8_0.</summary>
    Q8_0 = 7,

    /// <summary>4.5 to 6.6 bits per weight: Q4_K, the head and half of the value and down matrices Q6_K.</summary>
    Q4_K_M = 15,

    /// <summary>5.5 to 6.6 bits per weight: Q5_K, the head and half of the value and down matrices Q6_K.</summary>
    Q5_K_M = 17,

    /// <summary>6.6 bits per weight: Q6_K.</summary>
    Q6_K = 18,

    /// <summary>bfloat16.</summary>
    Bf16 = 32,
}
