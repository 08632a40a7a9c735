using System.Text.Json;

namespace LongLora.Tokenization;

/// <summary>One message of a conversation.</summary>
/// <param name="Role">Who speaks: <c>system</c>, <c>user</c>, <c>assistant</c>, <c>tool</c>, or what else a template knows.</param>
/// <param name="Content">What is said.</param>
public sealed record ChatMessage(string Role, string Content)
{
    /// <summary>The role of the model itself.</summary>
    public const string Assistant = "assistant";

    /// <summary>Further members that templates may use, such as <c>tool_calls</c> or <c>reasoning_content</c>; null for none.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Further { get; init; }
}
