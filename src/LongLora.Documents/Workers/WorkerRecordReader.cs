using LongLora.Data;

namespace LongLora.Documents.Workers;

/// <summary>Reads one file type, which has records too, in a worker process.</summary>
internal sealed class WorkerRecordReader(DocumentWorkers pool, int number) : WorkerReader(pool, number), IRecordReader
{
    /// <inheritdoc/>
    public IEnumerable<DataRecord> ReadRecords(Stream stream, string file) => Records(stream, file);
}
