namespace LongLora.Data;

/// <summary>
/// Reads one file type as texts. Readers that need nothing else are in <see cref="DocumentReaders.Plain"/>; those for PDF, DOCX and HTML
/// are in LongLora.Documents. An application passes them to <see cref="ExampleSources.Open"/>. A reader must be thread-safe.
/// </summary>
public interface IDocumentReader
{
    /// <summary>The file extensions that it reads, in lower case with the dot and without <c>.gz</c>.</summary>
    IReadOnlyList<string> Extensions { get; }

    /// <summary>The documents of one file in order.</summary>
    /// <param name="stream">The decompressed file from its start. It may not be seekable. The caller closes it.</param>
    /// <param name="file">Its path, for messages.</param>
    /// <exception cref="LongLora.Runtime.DataException">The file is damaged or has an unsupported format.</exception>
    IEnumerable<OpenedDocument> Read(Stream stream, string file);
}
