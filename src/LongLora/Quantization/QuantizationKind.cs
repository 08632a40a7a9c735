namespace LongLora.Quantization;

/// <summary>In how many bits the frozen matrices of the decoder blocks are held.</summary>
public enum QuantizationKind
{
    /// <summary>As they are stored.</summary>
    None,

    /// <summary>4 bits: NF4 with double quantisation, QLoRA's (arXiv 2305.14314); 0.516 bytes a weight.</summary>
    Nf4,

    /// <summary>8 bits, one scale a row; 1 byte a weight and 4 a row.</summary>
    Int8,

    /// <summary>
    /// As the model's file has them: the blocks of a GGUF file, or bitsandbytes' codes, stay as they are, and matrices that are stored
    /// whole stay whole. On the CPU only for GGUF.
    /// </summary>
    Keep,
}
