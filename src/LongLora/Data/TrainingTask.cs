namespace LongLora.Data;

/// <summary>What is learnt from data.</summary>
public enum TrainingTask
{
    /// <summary>Every token of running text: longer contexts, new fields.</summary>
    Text,

    /// <summary>Supervised fine-tuning: the answers of conversations.</summary>
    Sft,
}
