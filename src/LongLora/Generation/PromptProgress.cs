namespace LongLora.Generation;

/// <summary>How far a prompt has been read.</summary>
/// <param name="Read">Tokens that are known.</param>
/// <param name="Tokens">Tokens of the prompt.</param>
public readonly record struct PromptProgress(int Read, int Tokens);
