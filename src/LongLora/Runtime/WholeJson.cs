using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LongLora.Runtime;

/// <summary>
/// Parses JSON that somebody else wrote. The parser of .NET accepts texts with half of a character (<c>"\ud800"</c>) and throws only when one
/// of them is read, wherever that is; here they are refused like any other damage.
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
            if (!reader.ValueIsEscaped && Ascii.IsValid(reader.ValueSpan))
                continue;
            try
            {
                _ = reader.GetString();
            }
            catch (InvalidOperationException e)
            {
                var line = 1 + utf8[..(int)reader.TokenStartIndex].Count((byte)'\n');
                throw new JsonException(
                    $"A text on line {line} is not valid Unicode: it contains half of a character, such as \\ud83d alone, or bytes that "
                        + "are not UTF-8.",
                    e
                );
            }
        }
    }
}
