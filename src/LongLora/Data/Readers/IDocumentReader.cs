namespace LongLora.Data;

/// <summary>
/// Reads one kind of file as texts. Readers that need nothing else are in <see cref="DocumentReaders.Plain"/>; those for PDF, DOCX and
/// HTML are in LongLora.Documents, and an application hands them to <see cref="ExampleSources.Open"/>. A reader may be used by several
/// threads at once.
/// </summary>
public interface IDocumentReader
{
    /// <summary>Endings of the file names that it reads: lower case, with their dot, without <c>.gz</c>.</summary>
    IReadOnlyList<string> Extensions { get; }

    /// <summary>The documents of one file in order.</summary>
    /// <param name="stream">The file from its beginning, unpacked; it may not be seekable. The caller closes it.</param>
    /// <param name="file">Its path, for messages.</param>
    /// <exception cref="LongLora.Runtime.DataException">The file is damaged, or of a form that cannot be read.</exception>
    IEnumerable<OpenedDocument> Read(Stream stream, string file);
}
