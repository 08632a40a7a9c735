namespace LongLora.Models;

// B rows, J key-value heads, C slots, l tokens written at once, n tokens read, K head size

/// <summary>The number type of stored keys and values. Attention always computes in the model's own type.</summary>
public enum KeyValueType
{
    /// <summary>32-bit floating point: exact on the CPU.</summary>
    F32,

    /// <summary>16-bit floating point with 8 bits of precision: half the memory, and the type that CUDA computes in.</summary>
    BF16,

    /// <summary>
    /// 8-bit integers with one fp32 scale per token and head, largest magnitude / 127: a little more than a quarter of the memory.
    /// </summary>
    Int8,
}
