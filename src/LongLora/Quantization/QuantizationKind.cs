namespace LongLora.Quantization;

/// <summary>How many bits the frozen matrices of the decoder blocks use.</summary>
public enum QuantizationKind
{
    /// <summary>Not quantized: each matrix keeps its stored type.</summary>
    None,

    /// <summary>4 bits: NF4 with double quantization, as in QLoRA (arXiv 2305.14314); 0.516 bytes per weight.</summary>
    Nf4,

    /// <summary>8 bits with one scale per row; 1 byte per weight and 4 bytes per row.</summary>
    Int8,

    /// <summary>
    /// As the model's file has them: the blocks of a GGUF file, or bitsandbytes' codes, stay as they are, and matrices that are stored
    /// whole stay whole. On the CPU only for GGUF.
    /// </summary>
    Keep,

    /// <summary>4 bits with a power of two for each 32: only where a checkpoint has it (gpt-oss); 0.531 bytes per weight.</summary>
    Mxfp4,
}
