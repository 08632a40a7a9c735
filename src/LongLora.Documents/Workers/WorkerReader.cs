using LongLora.Data;

namespace LongLora.Documents.Workers;

/// <summary>Reads one file type in a worker process.</summary>
/// <param name="pool">The workers.</param>
/// <param name="number">The place of the reader in <see cref="DocumentFormats.All"/>.</param>
internal class WorkerReader(DocumentWorkers pool, int number) : IDocumentReader
{
    /// <inheritdoc cref="IDocumentReader.Extensions"/>
    public IReadOnlyList<string> Extensions { get; } = DocumentFormats.All[number].Extensions;

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file) => Read(stream, file, CancellationToken.None);

    /// <summary>The same, ended by a token: then the worker is killed.</summary>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file, CancellationToken cancellation)
    {
        using var reading = new WorkerReading(pool, stream, file, number, records: false, cancellation);
        while (reading.Next() is { } origin)
            yield return new OpenedDocument(reading.Text, origin);
    }

    /// <summary>The records of a file.</summary>
    protected IEnumerable<DataRecord> Records(Stream stream, string file)
    {
        using var reading = new WorkerReading(pool, stream, file, number, records: true, CancellationToken.None);
        while (reading.Next() is { } origin)
        {
            using var json = reading.ParseRecord();
            yield return new DataRecord(json.RootElement, origin);
        }
    }
}
