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

    /// <summary>
    /// Text and calls of a whole answer. What begins as a call is never text: if the answer is cut off in the arguments, the call has what
    /// is there of them, and before that there is no call.
    /// </summary>
    internal (string Content, IReadOnlyList<ToolCall> Calls) Read(string text)
    {
        if (FindStart(text) is not { } start)
            return (text, []);
        var (calls, at, expected) = (new List<ToolCall>(), start, format.Before);
        var before = string.IsNullOrWhiteSpace(text[..start]) ? "" : text[..start];
        while (expected is not null && Match(text, ref at, expected) is { } id)
        {
            SetId(calls, id);
            if (ReadCall(text, ref at) is not { } call)
                return (before, calls);
            calls.Add(call);
            expected = call.IsCut ? null : format.Between;
        }
        // Nothing stands behind calls but the beginning of a further one, which may begin as the end of the last one does.
        if (Match(text, ref at, format.After) is { } last)
            SetId(calls, last);
        return (before, calls);
    }

    // Where the calls begin; null where the answer is text.
    private int? FindStart(string text)
    {
        if (!isRequired && format.Mark is { } mark)
            return text.IndexOf(mark, StringComparison.Ordinal) is >= 0 and var found ? found : null;
        var start = text.Length - text.TrimStart().Length;
        var name = start;
        return isRequired || (Match(text, ref name, format.Before) is not null && MayBeCall(text.AsSpan(name))) ? start : null;
    }

    // Without a mark, an answer in JSON may begin as a call does. The quotation mark behind the name tells.
    private bool MayBeCall(ReadOnlySpan<char> text)
    {
        var end = text.IndexOf(Inside[0]);
        return end < 0 || text[end..].StartsWith(Inside) || Inside.AsSpan().StartsWith(text[end..]);
    }

    private string Inside => format.Inside.Split(ToolCallFormat.Id)[0];

    // An identifier behind the arguments is that of the call before.
    private static void SetId(List<ToolCall> calls, string id)
    {
        if (calls.Count > 0 && id.Length > 0)
            calls[^1] = calls[^1] with { Id = id };
    }

    private ToolCall? ReadCall(string text, ref int at)
    {
        var end = text.IndexOf(Inside, at, StringComparison.Ordinal);
        if (end < 0)
            return null;
        var name = text[at..end];
        var position = end;
        if (Match(text, ref position, format.Inside) is not { } id)
            return null;
        var arguments = ReadObject(text, position);
        at = position + (arguments ?? text[position..]).Length;
        return new ToolCall(id.Length > 0 ? id : NewId(), name, arguments ?? text[position..]) { IsCut = arguments is null };
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
