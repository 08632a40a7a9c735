using System.Text.Json;
using LongLora.Data;
using LongLora.Runtime;
using Parquet.Serialization;

namespace LongLora.Documents;

/// <summary>
/// Reads Parquet: rows as records for conversations, or their column <c>text</c> as documents. Only one row group is in memory at a time.
/// Compression inside the file (Snappy, Zstandard, gzip, ...) is supported, but the Parquet file itself must not be compressed. Binary
/// values that are UTF-8 are read as text. A column with other values is refused where its text is needed.
/// </summary>
public sealed class ParquetReader : IDocumentReader, IRecordReader
{
    /// <inheritdoc cref="IDocumentReader.Extensions"/>
    public IReadOnlyList<string> Extensions { get; } = [".parquet"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        IReadOnlyList<string>? columns = null;
        foreach (var record in ReadRecords(stream, file))
        {
            if (!record.Value.TryGetProperty("text", out var text))
            {
                columns ??= ReadColumns(stream, file);
                if (columns.Contains("text"))
                    continue; // a row without a value
                throw new DataException(
                    $"Cannot read {record.Origin} as a document because there is no column 'text'. The columns are "
                        + $"{string.Join(", ", columns)}. Rename the column with the text."
                );
            }
            if (text.ValueKind != JsonValueKind.String)
                throw new DataException(
                    $"Cannot read {record.Origin} as a document because the column 'text' contains {ParquetCells.Describe(text)}. "
                        + $"Store its texts as UTF-8 strings."
                );
            yield return new OpenedDocument(new StringReader(text.GetString()!), record.Origin);
        }
    }

    /// <inheritdoc/>
    public IEnumerable<DataRecord> ReadRecords(Stream stream, string file)
    {
        if (!stream.CanSeek)
            throw new DataException(
                $"Cannot read {file} because it is compressed, and a Parquet file has its index at the end. Decompress it first."
            );
        ParquetFooter.Check(stream, file);
        var guarded = new EndGuard(stream);
        var groups = Wait(file, async () =>
        {
            await using var reader = await Parquet.ParquetReader.CreateAsync(stream, leaveStreamOpen: true).ConfigureAwait(false);
            return reader.RowGroupCount;
        });
        var row = 0L;
        for (var group = 0; group < groups; group++)
        {
            guarded.Position = 0;
            var index = group;
            var rows = Wait(file, () => ParquetSerializer.DeserializeUntypedAsync(guarded, rowGroupIndex: index)).Data;
            foreach (var values in rows)
            {
                row++;
                using var json = JsonDocument.Parse(ParquetCells.ToJson(values));
                yield return new DataRecord(json.RootElement, $"{file}:{row}");
            }
        }
    }

    private static IReadOnlyList<string> ReadColumns(Stream stream, string file) => Wait<IReadOnlyList<string>>(file, async () =>
        {
            await using var reader = await Parquet.ParquetReader.CreateAsync(stream, leaveStreamOpen: true).ConfigureAwait(false);
            return [.. reader.Schema.Fields.Select(f => f.Name)];
        });

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
}
