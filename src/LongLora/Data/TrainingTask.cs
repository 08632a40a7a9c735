namespace LongLora.Data;

/// <summary>What is learned from data.</summary>
public enum TrainingTask
{
    /// <summary>Every token of running text: for longer contexts and new subjects.</summary>
    Text,

    /// <summary>Supervised fine-tuning: the answers of conversations.</summary>
    Sft,
}
