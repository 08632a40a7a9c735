namespace LongLora.Checkpoints;

/// <summary>Element types of GGUF tensors; the numbers are the format's.</summary>
public enum GgufType
{
    /// <summary>32-bit floats.</summary>
    F32 = 0,

    /// <summary>16-bit floats.</summary>
    F16 = 1,

    /// <summary>ggml's Q8_0: blocks of 32 numbers: a 16-bit scale, then 8 bits each; 8.5 bits a number.</summary>
    Q8 = 8,

    /// <summary>bfloat16.</summary>
    Bf16 = 30,
}
