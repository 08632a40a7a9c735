using System.Text.Json;

namespace LongLora.Documents.Questions;

/// <summary>A question and its answer, as a model wrote them.</summary>
/// <param name="Question">The question.</param>
/// <param name="Answer">The answer.</param>
internal sealed record QuestionAnswer(string Question, string Answer)
{
    /// <summary>
    /// Finds the object with <c>question</c> and <c>answer</c> in the reply of a model: after its thinking, in a fence, or among other
    /// words; null if there is none.
    /// </summary>
    public static QuestionAnswer? Parse(string reply)
    {
        var thought = reply.LastIndexOf("</think>", StringComparison.Ordinal);
        if (thought >= 0)
            reply = reply[(thought + "</think>".Length)..];
        for (var start = reply.IndexOf('{', StringComparison.Ordinal); start >= 0; start = reply.IndexOf('{', start + 1))
        {
            for (var end = reply.LastIndexOf('}'); end > start; end = reply.LastIndexOf('}', end - 1))
            {
                if (Read(reply.AsMemory(start, end - start + 1)) is { } answer)
                    return answer;
            }
        }
        return null;
    }

    private static QuestionAnswer? Read(ReadOnlyMemory<char> json)
    {
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { AllowTrailingCommas = true });
            var (question, answer) = (Text(document.RootElement, "question"), Text(document.RootElement, "answer"));
            return question is null || answer is null ? null : new QuestionAnswer(question, answer);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static string? Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.String
        && value.GetString()!.Trim() is { Length: > 0 } text
            ? text
            : null;
}
