using System.Collections;
using System.Globalization;
using System.Numerics;
using System.Text.Json;
using System.Text.Unicode;

namespace LongLora.Documents;

/// <summary>
/// The values of a Parquet row as JSON. Binary values are text if they are UTF-8. A value that is not text, a number, a date, a list or a
/// struct becomes an object with the single field <c>unreadable</c>, so that whoever needs it as a text refuses it.
/// </summary>
internal static class ParquetCells
{
    private const string Unreadable = "unreadable";
    private const int DeepestValue = 64;

    /// <summary>One row as a JSON object in UTF-8.</summary>
    public static ReadOnlyMemory<byte> ToJson(object row)
    {
        using var memory = new MemoryStream();
        using (var writer = new Utf8JsonWriter(memory))
            Write(writer, row, 0);
        return memory.GetBuffer().AsMemory(0, (int)memory.Length);
    }

    /// <summary>What a value is, for a message.</summary>
    public static string Describe(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Null => "no value",
            JsonValueKind.Array => "a list",
            JsonValueKind.Object when value.TryGetProperty(Unreadable, out var what) => what.GetString()!,
            JsonValueKind.Object => "a struct",
            JsonValueKind.Number => "a number",
            _ => $"{value.GetRawText()}, which is not a string",
        };

    private static void Write(Utf8JsonWriter writer, object? value, int depth)
    {
        if (depth > DeepestValue)
        {
            Refuse(writer, "values nested too deeply");
            return;
        }
        switch (value)
        {
            case null:
                writer.WriteNullValue();
                break;
            case string text:
                writer.WriteStringValue(text);
                break;
            case char letter:
                writer.WriteStringValue([letter]);
                break;
            // Lists of strings come like this.
            case ReadOnlyMemory<char> text:
                writer.WriteStringValue(text.Span);
                break;
            case byte[] bytes:
                WriteBytes(writer, bytes);
                break;
            case ReadOnlyMemory<byte> bytes:
                WriteBytes(writer, bytes.Span);
                break;
            case IDictionary fields:
                WriteFields(writer, fields, depth);
                break;
            case IEnumerable items:
                writer.WriteStartArray();
                foreach (var item in items)
                    Write(writer, item, depth + 1);
                writer.WriteEndArray();
                break;
            default:
                WriteScalar(writer, value);
                break;
        }
    }

    private static void WriteScalar(Utf8JsonWriter writer, object value)
    {
        switch (value)
        {
            case bool flag:
                writer.WriteBooleanValue(flag);
                break;
            case sbyte or byte or short or ushort or int or uint or long:
                writer.WriteNumberValue(Convert.ToInt64(value, CultureInfo.InvariantCulture));
                break;
            case ulong number:
                writer.WriteNumberValue(number);
                break;
            case decimal number:
                writer.WriteNumberValue(number);
                break;
            case BigInteger number:
                writer.WriteRawValue(number.ToString(CultureInfo.InvariantCulture));
                break;
            case float or double:
                var real = Convert.ToDouble(value, CultureInfo.InvariantCulture);
                if (double.IsFinite(real))
                    writer.WriteNumberValue(real);
                else
                    Refuse(writer, $"the number {real.ToString(CultureInfo.InvariantCulture)}");
                break;
            case DateTime time:
                writer.WriteStringValue(time);
                break;
            case DateTimeOffset time:
                writer.WriteStringValue(time);
                break;
            case DateOnly day:
                writer.WriteStringValue(day.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture));
                break;
            case TimeOnly time:
                writer.WriteStringValue(time.ToString("HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture));
                break;
            case TimeSpan time:
                writer.WriteStringValue(time.ToString("c", CultureInfo.InvariantCulture));
                break;
            case Guid id:
                writer.WriteStringValue(id);
                break;
            default:
                Refuse(writer, $"values of the type {value.GetType().Name}, which is not supported");
                break;
        }
    }

    private static void WriteBytes(Utf8JsonWriter writer, ReadOnlySpan<byte> bytes)
    {
        if (Utf8.IsValid(bytes))
            writer.WriteStringValue(bytes);
        else
            Refuse(writer, $"{bytes.Length:N0} bytes that are not UTF-8");
    }

    // A struct, or a map whose keys are texts.
    private static void WriteFields(Utf8JsonWriter writer, IDictionary fields, int depth)
    {
        var names = new List<string>();
        foreach (var key in fields.Keys)
        {
            var name = key switch
            {
                string text => text,
                ReadOnlyMemory<char> text => new string(text.Span),
                ReadOnlyMemory<byte> bytes when Utf8.IsValid(bytes.Span) => System.Text.Encoding.UTF8.GetString(bytes.Span),
                byte or sbyte or short or ushort or int or uint or long or ulong => Convert.ToString(key, CultureInfo.InvariantCulture)!,
                _ => null,
            };
            if (name is null)
            {
                Refuse(writer, $"a map with keys of the type {key.GetType().Name}, which is not supported");
                return;
            }
            names.Add(name);
        }
        writer.WriteStartObject();
        var values = fields.Values.GetEnumerator();
        foreach (var name in names)
        {
            values.MoveNext();
            writer.WritePropertyName(name);
            Write(writer, values.Current, depth + 1);
        }
        writer.WriteEndObject();
    }

    private static void Refuse(Utf8JsonWriter writer, string what)
    {
        writer.WriteStartObject();
        writer.WriteString(Unreadable, what);
        writer.WriteEndObject();
    }
}
