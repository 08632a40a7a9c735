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

    /// <summary>4 bits with a power of two for each 32: only where a checkpoint has it (gpt-oss); 0.531 bytes a weight.</summary>
    Mxfp4,
}
