using System.Text.Json;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>A conversation to learn from.</summary>
/// <param name="Messages">The messages in order.</param>
/// <param name="Origin">Where it came from, such as <c>data.jsonl:17</c>, for messages.</param>
public sealed record Conversation(IReadOnlyList<ChatMessage> Messages, string Origin)
{
    /// <summary>Whether no template is to be put around it: a prompt and its completion, one after the other as they are.</summary>
    public bool IsPlain { get; init; }

    /// <summary>The tools that may be called, a list as OpenAI writes it; null for none.</summary>
    public JsonElement? Tools { get; init; }
}
