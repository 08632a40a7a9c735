using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace LongLora.Generation.Structured;

/// <summary>
/// Takes the calls of tools out of an answer. While it is made, text is passed on as long as it cannot be the beginning of a call.
/// </summary>
/// <param name="format">How calls are written.</param>
/// <param name="isRequired">Whether the whole answer is calls.</param>
internal sealed class ToolAnswer(ToolCallFormat format, bool isRequired)
{
    private readonly StringBuilder _all = new();
    private readonly StopText? _before = !isRequired && format.Mark is { } mark ? new StopText([mark]) : null;
    private int _given;

    /// <summary>Takes more of the answer.</summary>
    /// <returns>Text that is certain to be no call.</returns>
    internal string Append(string text)
    {
        _all.Append(text);
        if (isRequired)
            return "";
        if (_before is not null)
            return Given(_before.Append(text));
        var all = _all.ToString();
        var start = all.TrimStart();
        var mayBeCall =
            start.Length < format.Before.Length
                ? format.Before.StartsWith(start, StringComparison.Ordinal)
                : start.StartsWith(format.Before, StringComparison.Ordinal);
        return mayBeCall ? "" : Given(all[_given..]);
    }

    /// <summary>Ends the answer.</summary>
    /// <returns>The text that was not passed on yet and is no call, and the calls.</returns>
    internal (string Further, IReadOnlyList<ToolCall> Calls) Finish()
    {
        var all = _all.ToString();
        var (content, calls) = Read(all);
        return (content.Length > _given ? content[_given..] : "", calls);
    }

    /// <summary>Text and calls of a whole answer. A call that is cut off stays text.</summary>
    internal (string Content, IReadOnlyList<ToolCall> Calls) Read(string text)
    {
        var start =
            !isRequired && format.Mark is { } mark ? text.IndexOf(mark, StringComparison.Ordinal) : text.Length - text.TrimStart().Length;
        var calls = new List<ToolCall>();
        var at = start < 0 ? text.Length : start;
        var (end, expected) = (at, format.Before);
        while (Match(text, ref at, expected) is { } id && ReadCall(text, ref at) is { } call)
        {
            // An identifier behind the arguments is that of the call before.
            if (calls.Count > 0 && id.Length > 0)
                calls[^1] = calls[^1] with { Id = id };
            calls.Add(call);
            end = at;
            expected = format.Between ?? "";
            if (expected.Length == 0)
                break;
        }
        if (calls.Count == 0)
            return (text, []);
        var behind = end;
        if (Match(text, ref behind, format.After) is { } last)
        {
            if (last.Length > 0)
                calls[^1] = calls[^1] with { Id = last };
            end = behind;
        }
        return (text[..start] + text[end..].Trim(), calls);
    }

    private ToolCall? ReadCall(string text, ref int at)
    {
        var inside = format.Inside.Split(ToolCallFormat.Id)[0];
        var end = text.IndexOf(inside, at, StringComparison.Ordinal);
        if (end < 0)
            return null;
        var name = text[at..end];
        var position = end;
        if (Match(text, ref position, format.Inside) is not { } id || ReadObject(text, position) is not { } arguments)
            return null;
        at = position + arguments.Length;
        return new ToolCall(id.Length > 0 ? id : NewId(), name, arguments);
    }

    // Reads a text in which an identifier may stand. Null where the answer has something else.
    private static string? Match(string text, ref int at, string expected)
    {
        var (position, id) = (at, "");
        foreach (var (i, part) in expected.Split(ToolCallFormat.Id).Index())
        {
            if (i > 0)
            {
                if (position + ToolCallFormat.IdLength > text.Length)
                    return null;
                id = text.Substring(position, ToolCallFormat.IdLength);
                position += ToolCallFormat.IdLength;
            }
            if (string.CompareOrdinal(text, position, part, 0, part.Length) != 0)
                return null;
            position += part.Length;
        }
        at = position;
        return id;
    }

    // The text of a JSON object.
    private static string? ReadObject(string text, int at)
    {
        var bytes = Encoding.UTF8.GetBytes(text[at..]);
        var reader = new Utf8JsonReader(bytes, isFinalBlock: false, default);
        try
        {
            return reader.Read() && reader.TokenType == JsonTokenType.StartObject && reader.TrySkip()
                ? Encoding.UTF8.GetString(bytes.AsSpan(0, (int)reader.BytesConsumed))
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private string NewId() =>
        format.HasIds
            ? RandomNumberGenerator.GetString(ToolCallFormat.Letters, ToolCallFormat.IdLength)
            : "call_" + RandomNumberGenerator.GetString(ToolCallFormat.Letters, 24);

    private string Given(string text)
    {
        _given += text.Length;
        return text;
    }
}
