using System.Text.Json;

namespace LongLora.Tokenization;

/// <summary>How a conversation is written for a model that answers it.</summary>
internal sealed record ConversationForm
{
    /// <summary>A conversation whose last message asks.</summary>
    public static ConversationForm Standard { get; } = new();

    /// <summary>Whether the text ends with what comes before the model's next answer. Default true.</summary>
    public bool AddGenerationPrompt { get; init; } = true;

    /// <summary>
    /// Whether the text ends with the last message, which the model continues. What the template writes after it is left out. Default
    /// false.
    /// </summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>Further variables of the template, such as <c>enable_thinking</c>. Default none.</summary>
    public IReadOnlyDictionary<string, JsonElement> Variables { get; init; } = new Dictionary<string, JsonElement>();

    /// <summary>The tools that the model may call, as a list in OpenAI's format; null for none. Default null.</summary>
    public JsonElement? Tools { get; init; }
}
