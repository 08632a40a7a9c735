namespace LongLora.Data;

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
