using System.Text.Json;
using System.Text.Unicode;
using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>Parses one record of a JSON file, and says what is wrong with it.</summary>
internal static class JsonRecord
{
    /// <summary>Parses a record.</summary>
    /// <param name="bytes">The record.</param>
    /// <param name="origin">Where it is, for messages.</param>
    /// <param name="isLast">Whether the file ends with it. Only then can it have been cut off.</param>
    /// <exception cref="DataException">It is cut off, not UTF-8 or not JSON.</exception>
    internal static JsonDocument Parse(ReadOnlyMemory<byte> bytes, string origin, bool isLast)
    {
        if (isLast && IsBeginning(bytes.Span))
            throw new DataException($"{origin}: the file ends inside this record. It is truncated. Download it again.");
        if (!Utf8.IsValid(bytes.Span))
            throw new DataException($"{origin}: the record is not UTF-8. Convert the file to UTF-8.");
        try
        {
            return JsonDocument.Parse(bytes);
        }
        catch (JsonException e)
        {
            throw new DataException($"{origin}: not valid JSON: {e.Message}", e);
        }
    }

    /// <summary>Whether more text could make a JSON value of it.</summary>
    internal static bool IsBeginning(ReadOnlySpan<byte> bytes)
    {
        var reader = new Utf8JsonReader(bytes, isFinalBlock: false, default);
        try
        {
            while (reader.Read()) { }
        }
        catch (JsonException)
        {
            return false;
        }
        return reader.CurrentDepth > 0 || bytes[(int)reader.BytesConsumed..].ContainsAnyExcept(" \t\r\n"u8);
    }
}
