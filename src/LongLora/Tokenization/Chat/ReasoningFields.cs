using System.Text.Json;

namespace LongLora.Tokenization;

/// <summary>The reasoning before an answer: in a field of its own, or in the text between two marks.</summary>
internal static class ReasoningFields
{
    /// <summary>What ends the reasoning in a text.</summary>
    public const string End = "</think>";

    private const string Start = "<think>";

    // Characters that no text has, as many as the marks have.
    private static readonly string s_hiddenStart = new('\uFDD0', Start.Length),
        s_hiddenEnd = new('\uFDD1', End.Length);

    /// <summary>The fields of messages that have it, the most usual first.</summary>
    public static IReadOnlyList<string> Names { get; } = ["reasoning_content", "reasoning", "thinking", "thought"];

    /// <summary>The message with its reasoning at the start of its text, between marks that a template does not recognize.</summary>
    public static ChatMessage Hide(ChatMessage message)
    {
        var further = message.Further ?? new Dictionary<string, JsonElement>();
        var content = message.Content;
        if (
            !content.Contains(End, StringComparison.Ordinal)
            && Names.FirstOrDefault(n => further.GetValueOrDefault(n).ValueKind == JsonValueKind.String) is { } name
        )
            content = $"{Start}\n{further[name].GetString()!.Trim('\n')}\n{End}\n\n{content.TrimStart('\n')}";
        return message with
        {
            Content = content.Replace(Start, s_hiddenStart, StringComparison.Ordinal).Replace(End, s_hiddenEnd, StringComparison.Ordinal),
            Further = further.Where(f => !Names.Contains(f.Key)).ToDictionary(),
        };
    }

    /// <summary>A text with its marks again; it keeps its length.</summary>
    public static string Show(string text) =>
        text.Replace(s_hiddenStart, Start, StringComparison.Ordinal).Replace(s_hiddenEnd, End, StringComparison.Ordinal);
}
