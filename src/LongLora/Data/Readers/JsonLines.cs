using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>Reads the field <c>text</c> of a JSON object on each line, with one line in memory at a time.</summary>
internal static class JsonLines
{
    /// <summary>Texts with their location, <c>file:line</c>. Blank lines are skipped.</summary>
    public static IEnumerable<(string Text, string Origin)> Read(Stream stream, string file)
    {
        foreach (var (line, number, isLast) in ReadLines(new Utf8Stream(stream, file)))
        {
            var origin = $"{file}:{number}";
            if (line.Span.ContainsAnyExcept(" \t\r"u8))
                yield return (ReadText(line, origin, isLast), origin);
        }
    }

    private static string ReadText(ReadOnlyMemory<byte> line, string origin, bool isLast)
    {
        using var json = JsonRecord.Parse(line, origin, isLast);
        try
        {
            if (json.RootElement.ValueKind != JsonValueKind.Object)
                throw new DataException($"{origin}: the line must be a JSON object with 'text', but it is {json.RootElement.ValueKind}.");
            if (!json.RootElement.TryGetProperty("text", out var text))
            {
                var names = string.Join(", ", json.RootElement.EnumerateObject().Select(p => p.Name));
                throw new DataException($"{origin}: there is no field 'text'. The fields are {names}.");
            }
            return text.ValueKind == JsonValueKind.String
                ? text.GetString()!
                : throw new DataException($"{origin}: 'text' is {text.ValueKind}, but it must be a string.");
        }
        catch (InvalidOperationException e)
        {
            // Half a surrogate pair, written as an escape: JSON allows it, Unicode does not.
            throw new DataException($"{origin}: 'text' is not valid Unicode: {e.Message}", e);
        }
    }

    // Lines without their '\n'. A byte order mark is removed. The memory is valid until the next line is requested.
    private static IEnumerable<(ReadOnlyMemory<byte> Line, long Number, bool IsLast)> ReadLines(Stream stream)
    {
        var buffer = new byte[1 << 16];
        int start = 0,
            end = 0,
            searched = 0;
        var ended = false;
        for (var number = 1L; ; )
        {
            var length = buffer.AsSpan(start + searched, end - start - searched).IndexOf((byte)'\n');
            if (length < 0 && !ended)
            {
                searched = end - start;
                buffer.AsSpan(start, searched).CopyTo(buffer);
                (start, end) = (0, searched);
                if (end == buffer.Length)
                    Array.Resize(ref buffer, 2 * buffer.Length);
                var read = stream.Read(buffer, end, buffer.Length - end);
                ended = read == 0;
                end += read;
                continue;
            }
            if (length < 0 && start == end)
                yield break;
            var lineEnd = length < 0 ? end : start + searched + length;
            var from = number == 1 && buffer.AsSpan(start, lineEnd - start).StartsWith<byte>([0xEF, 0xBB, 0xBF]) ? start + 3 : start;
            yield return (buffer.AsMemory(from, lineEnd - from), number++, length < 0);
            (start, searched) = (length < 0 ? end : lineEnd + 1, 0);
        }
    }
}
