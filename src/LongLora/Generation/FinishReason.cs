namespace LongLora.Generation;

// B texts, l tokens read at once, n tokens so far, D model size, V vocabulary

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>A token that ends texts, or a stop text.</summary>
    Stop,

    /// <summary>The most tokens were generated, or the context is full.</summary>
    Length,
}
