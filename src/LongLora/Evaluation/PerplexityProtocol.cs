namespace LongLora.Evaluation;

/// <summary>Which tokens are scored, and with how much context.</summary>
public enum PerplexityProtocol
{
    /// <summary>
    /// LongLoRA's, as published: windows of the concatenated stream start at 0, 256, 512, ... below length - context, and the last one is
    /// dropped. Each window scores context - 1 tokens, and the result is the mean over windows. Tokens early in a window have little
    /// context but count as much as the others.
    /// </summary>
    LongLora,

    /// <summary>Each document separately. Windows overlap, and every token is scored once, by the first window that contains it.</summary>
    Document,
}
