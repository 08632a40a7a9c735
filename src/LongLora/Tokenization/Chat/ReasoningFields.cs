namespace LongLora.Tokenization;

/// <summary>The fields in which messages have the reasoning before an answer.</summary>
internal static class ReasoningFields
{
    /// <summary>Their names, the most usual first.</summary>
    public static IReadOnlyList<string> Names { get; } = ["reasoning_content", "reasoning", "thinking", "thought"];
}
