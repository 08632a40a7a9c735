namespace LongLora.Adapters;

/// <summary>Which weights are trained (LongLoRA, section 3.3).</summary>
public enum TuningMethod
{
    /// <summary>LoRA on the target projections, and full training of embeddings and norms.</summary>
    LoraPlus,

    /// <summary>Only LoRA.</summary>
    Lora,

    /// <summary>Every weight.</summary>
    Full,
}
