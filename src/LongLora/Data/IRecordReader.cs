using System.Text.Json;

namespace LongLora.Data;

/// <summary>One record of a file: a JSON object, or a row of a table.</summary>
/// <param name="Value">The record, with its fields or columns. Good until the next record is asked for.</param>
/// <param name="Origin">Where it came from, such as <c>data.jsonl:17</c>, for messages.</param>
public readonly record struct DataRecord(JsonElement Value, string Origin);

/// <summary>
/// Reads one kind of file as records. <see cref="JsonRecords"/> is the one that needs nothing else; that for Parquet is in
/// LongLora.Documents. A reader may be used by several threads at once.
/// </summary>
public interface IRecordReader
{
    /// <summary>Endings of the file names that it reads: lower case, with their dot, without those of packing.</summary>
    IReadOnlyList<string> Extensions { get; }

    /// <summary>The records of one file in order.</summary>
    /// <param name="stream">The file from its beginning, unpacked; it may not be seekable. The caller closes it.</param>
    /// <param name="file">Its path, for messages.</param>
    /// <exception cref="LongLora.Runtime.DataException">The file is damaged, or of a form that cannot be read.</exception>
    IEnumerable<DataRecord> ReadRecords(Stream stream, string file);
}
