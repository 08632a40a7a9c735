namespace LongLora.Adapters;

/// <summary>Which weights are trained (LongLoRA, section 3.3).</summary>
public enum TuningMethod
{
    /// <summary>LoRA on the target projections, and the embeddings and norms themselves.</summary>
    LoraPlus,

    /// <summary>LoRA alone.</summary>
    Lora,

    /// <summary>Every weight.</summary>
    Full,
}
