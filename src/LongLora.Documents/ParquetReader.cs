using System.Collections;
using System.Globalization;
using System.Text.Json;
using LongLora.Data;
using LongLora.Runtime;
using Parquet.Serialization;

namespace LongLora.Documents;

/// <summary>
/// Reads Parquet: rows as records for conversations, or their column <c>text</c> as documents. One row group is in memory at a time.
/// Packing inside the file (Snappy, Zstandard, gzip, ...) is Parquet's own; a packed Parquet file is not read.
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
                    $"{record.Origin}: there is no column 'text' with texts; the columns are "
                        + $"{string.Join(", ", record.Value.EnumerateObject().Select(p => p.Name))}."
                );
            yield return new OpenedDocument(new StringReader(text.GetString()!), record.Origin);
        }
    }

    /// <inheritdoc/>
    public IEnumerable<DataRecord> ReadRecords(Stream stream, string file)
    {
        if (!stream.CanSeek)
            throw new DataException($"{file}: a Parquet file has its index at the end and cannot be read packed. Unpack it first.");
        var groups = Run(file, async () =>
        {
            await using var reader = await Parquet.ParquetReader.CreateAsync(stream, leaveStreamOpen: true).ConfigureAwait(false);
            return reader.RowGroupCount;
        });
        var row = 0L;
        for (var group = 0; group < groups; group++)
        {
            stream.Position = 0;
            var index = group;
            var rows = Run(file, () => ParquetSerializer.DeserializeUntypedAsync(stream, rowGroupIndex: index)).Data;
            foreach (var values in rows)
            {
                row++;
                using var json = JsonDocument.Parse(Json(values));
                yield return new DataRecord(json.RootElement, $"{file}:{row}");
            }
        }
    }

    // The library behind reads asynchronously; files are read here where they are needed, on the thread that needs them.
    private static T Run<T>(string file, Func<Task<T>> read)
    {
        try
        {
            return Task.Run(read).GetAwaiter().GetResult();
        }
        catch (Exception e) when (e is not (OutOfMemoryException or OperationCanceledException))
        {
            throw new DataException($"{file} is not a Parquet file that can be read: {e.Message}", e);
        }
    }

    private static ReadOnlyMemory<byte> Json(object values)
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
