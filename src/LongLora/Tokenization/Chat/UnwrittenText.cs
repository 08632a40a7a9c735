using System.Text;
using System.Text.Json;
using LongLora.Tokenization.Jinja;

namespace LongLora.Tokenization;

/// <summary>
/// Measures how much of an answer a template did not write: some drop what stands before <c>&lt;/think&gt;</c>, others do not read
/// <c>reasoning_content</c>. White space does not count, because templates trim it, and neither do the marks around reasoning, which
/// templates write themselves.
/// </summary>
internal static class UnwrittenText
{
    private static readonly string[] s_marks = ["<think>", "</think>"];

    /// <summary>The characters of a message that are not in the rendered text, and all of its characters.</summary>
    /// <param name="message">The message.</param>
    /// <param name="owner">Its number in the rendered text.</param>
    /// <param name="text">The rendered conversation.</param>
    public static (int Unwritten, int All) Count(ChatMessage message, short owner, MarkedText text)
    {
        var written = new StringBuilder();
        for (var i = 0; i < text.Length; i++)
        {
            if (text.GetOwner(i) == owner && !char.IsWhiteSpace(text.Text[i]))
                written.Append(text.Text[i]);
        }
        var rest = written.ToString();
        var (unwritten, all) = (0, 0);
        // The longest first: a short text may be found within a long one.
        foreach (var part in Parts(message).OrderByDescending(p => p.Length))
        {
            var plain = RemoveSpace(part);
            all += plain.Length;
            unwritten += Take(plain, RemoveSpace(Escape(part)), ref rest);
        }
        return (unwritten, all);
    }

    // Removes a text, or its beginning and its end, from what was written. Returns how many of its characters were not there.
    private static int Take(string part, string escaped, ref string written)
    {
        foreach (var form in new[] { part, escaped })
        {
            var at = written.IndexOf(form, StringComparison.Ordinal);
            if (at < 0)
                continue;
            written = written.Remove(at, form.Length);
            return 0;
        }
        var end = LongestFound(part, written, fromEnd: true);
        var start = LongestFound(part, written, fromEnd: false);
        return Math.Max(1, part.Length - start - end);
    }

    private static int LongestFound(string part, string written, bool fromEnd)
    {
        var (found, absent) = (0, part.Length);
        while (absent - found > 1)
        {
            var middle = (found + absent) / 2;
            var piece = fromEnd ? part.AsSpan(part.Length - middle) : part.AsSpan(0, middle);
            if (written.AsSpan().IndexOf(piece, StringComparison.Ordinal) >= 0)
                found = middle;
            else
                absent = middle;
        }
        return found;
    }

    private static IEnumerable<string> Parts(ChatMessage message)
    {
        var further = message.Further ?? new Dictionary<string, JsonElement>();
        var texts = ReasoningFields
            .Names.Append("refusal")
            .Select(name => further.GetValueOrDefault(name))
            .Where(value => value.ValueKind == JsonValueKind.String)
            .Select(value => value.GetString()!)
            .Prepend(message.Content)
            .Concat(further.TryGetValue(ToolCalls.Member, out var calls) ? Strings(calls) : []);
        return texts.SelectMany(t => t.Split(s_marks, StringSplitOptions.None)).Where(t => !string.IsNullOrWhiteSpace(t));
    }

    private static string RemoveSpace(string text) => string.Concat(text.Where(c => !char.IsWhiteSpace(c)));

    // Names and arguments; ids and types are not written by all templates.
    private static IEnumerable<string> Strings(JsonElement json) =>
        json.ValueKind switch
        {
            JsonValueKind.String => [json.GetString()!],
            JsonValueKind.Array => json.EnumerateArray().SelectMany(Strings),
            JsonValueKind.Object => json.EnumerateObject()
                .Where(p => p.Name is not ("id" or "type" or "index"))
                .SelectMany(p => Strings(p.Value)),
            _ => [],
        };

    // As a template writes it that has the text in JSON.
    private static string Escape(string text) => JinjaJson.Plain.Write(MarkedText.Of(text))[1..^1];
}
