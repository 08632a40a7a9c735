using System.Collections;
using System.Globalization;
using System.Text.Json;
using LongLora.Data;
using LongLora.Runtime;
using Parquet.Serialization;

namespace LongLora.Documents;

/// <summary>
/// Reads Parquet: rows as records for conversations, or their column <c>text</c> as documents. Only one row group is in memory at a time.
/// Compression inside the file (Snappy, Zstandard, gzip, ...) is supported, but the Parquet file itself must not be compressed.
/// </summary>
public sealed class ParquetReader : IDocumentReader, IRecordReader
{
    /// <inheritdoc cref="IDocumentReader.Extensions"/>
    public IReadOnlyList<string> Extensions { get; } = [".parquet"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        foreach (var record in ReadRecords(stream, file))
        {
            if (!record.Value.TryGetProperty("text", out var text) || text.ValueKind != JsonValueKind.String)
                throw new DataException(
                    $"{record.Origin}: there is no column 'text' with strings. The columns are "
                        + $"{string.Join(", ", record.Value.EnumerateObject().Select(p => p.Name))}."
                );
            yield return new OpenedDocument(new StringReader(text.GetString()!), record.Origin);
        }
    }

    /// <inheritdoc/>
    public IEnumerable<DataRecord> ReadRecords(Stream stream, string file)
    {
        if (!stream.CanSeek)
            throw new DataException(
                $"Cannot read {file} because it is compressed, and a Parquet file has its index at the end. " + $"Decompress it first."
            );
        var groups = Wait(file, async () =>
        {
            await using var reader = await Parquet.ParquetReader.CreateAsync(stream, leaveStreamOpen: true).ConfigureAwait(false);
            return reader.RowGroupCount;
        });
        var row = 0L;
        for (var group = 0; group < groups; group++)
        {
            stream.Position = 0;
            var index = group;
            var rows = Wait(file, () => ParquetSerializer.DeserializeUntypedAsync(stream, rowGroupIndex: index)).Data;
            foreach (var values in rows)
            {
                row++;
                using var json = JsonDocument.Parse(ToJson(values));
                yield return new DataRecord(json.RootElement, $"{file}:{row}");
            }
        }
    }

    // The library reads asynchronously. Here files are read when they are needed, on the thread that needs them.
    private static T Wait<T>(string file, Func<Task<T>> read)
    {
        try
        {
            return Task.Run(read).GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is not (OutOfMemoryException or OperationCanceledException))
        {
            throw new DataException($"Cannot read {file} as a Parquet file: {e.Message}", e);
        }
    }

    private static ReadOnlyMemory<byte> ToJson(object values)
    {
        using var memory = new MemoryStream();
        using (var writer = new Utf8JsonWriter(memory))
            Write(writer, values);
        return memory.GetBuffer().AsMemory(0, (int)memory.Length);
    }

    private static void Write(Utf8JsonWriter writer, object? value)
    {
        switch (value)
        {
            case null:
                writer.WriteNullValue();
                break;
            case string text:
                writer.WriteStringValue(text);
                break;
            case bool flag:
                writer.WriteBooleanValue(flag);
                break;
            case sbyte or byte or short or ushort or int or uint or long:
                writer.WriteNumberValue(Convert.ToInt64(value, CultureInfo.InvariantCulture));
                break;
            case float or double when double.IsFinite(Convert.ToDouble(value, CultureInfo.InvariantCulture)):
                writer.WriteNumberValue(Convert.ToDouble(value, CultureInfo.InvariantCulture));
                break;
            case IDictionary<string, object?> fields:
                writer.WriteStartObject();
                foreach (var (name, field) in fields)
                {
                    writer.WritePropertyName(name);
                    Write(writer, field);
                }
                writer.WriteEndObject();
                break;
            case IEnumerable items when value is not byte[]:
                writer.WriteStartArray();
                foreach (var item in items)
                    Write(writer, item);
                writer.WriteEndArray();
                break;
            default:
                writer.WriteStringValue(Convert.ToString(value, CultureInfo.InvariantCulture));
                break;
        }
    }
}
