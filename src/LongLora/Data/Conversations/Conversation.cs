using System.Text.Json;
using LongLora.Tokenization;

namespace LongLora.Data;

/// <summary>A conversation to learn from.</summary>
/// <param name="Messages">The messages in order.</param>
/// <param name="Origin">Where it comes from, such as <c>data.jsonl:17</c>, for messages.</param>
internal sealed record Conversation(IReadOnlyList<ChatMessage> Messages, string Origin)
{
    /// <summary>Whether no template is applied: a prompt and its completion are written directly one after the other.</summary>
    public bool IsPlain { get; init; }

    /// <summary>The tools that may be called, as a list in OpenAI's format; null for none.</summary>
    public JsonElement? Tools { get; init; }
}
