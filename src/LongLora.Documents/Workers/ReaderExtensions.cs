using LongLora.Data;

namespace LongLora.Documents.Workers;

/// <summary>Reading that somebody may end.</summary>
internal static class ReaderExtensions
{
    /// <summary>The documents of a file. A reader in a worker ends at once; any other with the document that it reads.</summary>
    public static IEnumerable<OpenedDocument> ReadUntil(
        this IDocumentReader reader,
        Stream stream,
        string file,
        CancellationToken cancellation
    ) => reader is WorkerReader worker ? worker.Read(stream, file, cancellation) : reader.Read(stream, file);
}
