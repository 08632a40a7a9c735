using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Unicode;

namespace LongLora.Runtime;

/// <summary>
/// Parses JSON that somebody else wrote. The parser of .NET accepts texts with half of a character (<c>"\ud800"</c>) and throws only when
/// one of them is read, wherever that is; here they are refused like any other damage.
/// </summary>
internal static class WholeJson
{
    /// <summary>Parses a document.</summary>
    /// <exception cref="JsonException">It is not JSON, or a text in it is not whole characters.</exception>
    public static JsonDocument Parse(ReadOnlyMemory<byte> utf8, JsonDocumentOptions options = default)
    {
        RequireWhole(utf8.Span, options);
        return JsonDocument.Parse(utf8, options);
    }

    /// <summary>Parses a document.</summary>
    /// <exception cref="JsonException">It is not JSON, or a text in it is not whole characters.</exception>
    public static JsonDocument Parse(string text, JsonDocumentOptions options = default) => Parse(Encoding.UTF8.GetBytes(text), options);

    /// <summary>Parses a document that may be changed.</summary>
    /// <exception cref="JsonException">It is not JSON, a member is there twice, or a text in it is not whole characters.</exception>
    public static JsonNode? ParseNode(string text)
    {
        var options = new JsonDocumentOptions { AllowDuplicateProperties = false };
        var utf8 = Encoding.UTF8.GetBytes(text);
        RequireWhole(utf8, options);
        return JsonNode.Parse(utf8, documentOptions: options);
    }

    /// <summary>Whether a text is whole characters, without decoding it.</summary>
    /// <param name="raw">The text as it is written in valid JSON, between its quotes.</param>
    public static bool IsWhole(ReadOnlySpan<byte> raw)
    {
        if (!Utf8.IsValid(raw))
            return false;
        while (raw.IndexOf((byte)'\\') is >= 0 and var at)
        {
            raw = raw[at..];
            if (raw[1] != (byte)'u')
            {
                raw = raw[2..];
                continue;
            }
            var first = ReadEscape(raw);
            raw = raw[EscapeLength..];
            if (!char.IsSurrogate(first))
                continue;
            if (!char.IsHighSurrogate(first) || !raw.StartsWith("\\u"u8) || !char.IsLowSurrogate(ReadEscape(raw)))
                return false;
            raw = raw[EscapeLength..];
        }
        return true;
    }

    private const int EscapeLength = 6;

    private static char ReadEscape(ReadOnlySpan<byte> raw) =>
        (char)int.Parse(raw[2..EscapeLength], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static void RequireWhole(ReadOnlySpan<byte> utf8, JsonDocumentOptions options)
    {
        var reader = new Utf8JsonReader(
            utf8,
            new JsonReaderOptions
            {
                AllowTrailingCommas = options.AllowTrailingCommas,
                CommentHandling = options.CommentHandling,
                MaxDepth = options.MaxDepth,
            }
        );
        while (reader.Read())
        {
            if (reader.TokenType is not (JsonTokenType.String or JsonTokenType.PropertyName))
                continue;
            if (!IsWhole(reader.ValueSpan))
            {
                var line = 1 + utf8[..(int)reader.TokenStartIndex].Count((byte)'\n');
                throw new JsonException(
                    $"A text on line {line} is not valid Unicode: it contains half of a character, such as \\ud83d alone, or bytes that "
                        + "are not UTF-8."
                );
            }
        }
    }
}
