using System.Text.Json;

namespace LongLora.Tokenization;

/// <summary>One message of a conversation.</summary>
/// <param name="Role">
/// The speaker: <c>system</c>, <c>user</c>, <c>assistant</c>, <c>tool</c>, or another role that a template knows.
/// </param>
/// <param name="Content">The text.</param>
public sealed record ChatMessage(string Role, string Content)
{
    /// <summary>The role of the model itself.</summary>
    public const string Assistant = "assistant";

    /// <summary>Other members that templates may use, such as <c>tool_calls</c> or <c>reasoning_content</c>; null for none.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Further { get; init; }

    /// <summary>Whether training learns it; only of answers. Default true.</summary>
    internal bool IsLearned { get; init; } = true;
}
