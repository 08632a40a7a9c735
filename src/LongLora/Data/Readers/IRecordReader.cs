namespace LongLora.Data;

/// <summary>
/// Reads one file type as records. <see cref="JsonRecords"/> needs nothing else; the reader for Parquet is in LongLora.Documents. A reader
/// must be thread-safe.
/// </summary>
public interface IRecordReader
{
    /// <summary>The file extensions that it reads, in lower case with the dot and without those of compression.</summary>
    IReadOnlyList<string> Extensions { get; }

    /// <summary>The records of one file in order.</summary>
    /// <param name="stream">The decompressed file from its start. It may not be seekable. The caller closes it.</param>
    /// <param name="file">Its path, for messages.</param>
    /// <exception cref="LongLora.Runtime.DataException">The file is damaged or has an unsupported format.</exception>
    IEnumerable<DataRecord> ReadRecords(Stream stream, string file);
}
