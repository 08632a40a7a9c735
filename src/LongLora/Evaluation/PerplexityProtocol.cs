namespace LongLora.Evaluation;

/// <summary>Which tokens are scored with which context.</summary>
public enum PerplexityProtocol
{
    /// <summary>
    /// LongLoRA's, as published: windows of the concatenated stream at 0, 256, 512, ... below length - context, the last one dropped; each
    /// scores context - 1 tokens; the mean of the windows. Tokens early in a window have little context and count as much as the others.
    /// </summary>
    LongLora,

    /// <summary>Each document for itself; windows overlap and every token is scored once, by the first window that holds it.</summary>
    Document,
}
