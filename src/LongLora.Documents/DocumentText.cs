using System.Text;
using LongLora.Data;
using LongLora.Documents.Workers;
using LongLora.Runtime;

namespace LongLora.Documents;

/// <summary>Whole documents as text, for a prompt.</summary>
public static class DocumentText
{
    /// <summary>Most characters of what is read at once. Default for all methods here.</summary>
    private const long MostCharacters = 256 << 20;

    private static readonly Lazy<IReadOnlyList<IDocumentReader>> s_readers = new(() =>
        [.. DocumentReaders.Plain, .. DocumentFormats.Isolated]
    );

    /// <summary>The text of a file, or of all files in a folder one after the other, with an empty line between documents.</summary>
    /// <param name="path">A text, Markdown, PDF, Word or HTML file, gzipped or not, or a folder of these.</param>
    /// <exception cref="DataException">It does not exist, is damaged, or has an unsupported type.</exception>
    public static string Read(string path)
    {
        var text = new StringBuilder();
        foreach (var file in DataFiles.Expand([path], [.. s_readers.Value.SelectMany(r => r.Extensions)]))
        {
            using var stream = DataFiles.Open(file);
            Append(text, stream, file, s_readers.Value, MostCharacters, CancellationToken.None);
        }
        return text.ToString();
    }

    /// <summary>The text of a document that is not a local file, such as an upload.</summary>
    /// <param name="stream">Its bytes, decompressed.</param>
    /// <param name="name">Its file name, whose extension gives the type.</param>
    /// <exception cref="DataException">It is damaged or has an unsupported type.</exception>
    public static string Read(Stream stream, string name) =>
        Read(stream, name, DocumentFormats.Isolated, MostCharacters, CancellationToken.None);

    /// <summary>The same with limits of the caller's.</summary>
    /// <param name="stream">Its bytes, decompressed.</param>
    /// <param name="name">Its file name, whose extension gives the type.</param>
    /// <param name="readers">
    /// Readers of other types than plain text, such as those of <see cref="DocumentWorkers"/> with other limits.
    /// </param>
    /// <param name="mostCharacters">Most characters of the text.</param>
    /// <param name="cancellation">Ends the reading, also in a worker.</param>
    /// <exception cref="DataException">It is damaged, has an unsupported type, or has more text.</exception>
    public static string Read(
        Stream stream,
        string name,
        IReadOnlyList<IDocumentReader> readers,
        long mostCharacters,
        CancellationToken cancellation
    )
    {
        IReadOnlyList<IDocumentReader> all = [.. DocumentReaders.Plain, .. readers];
        if (!all.Any(r => r.Extensions.Contains(DataFiles.GetExtension(name))))
            throw new DataException(
                $"Cannot read '{name}' because its type is not supported. The supported types are "
                    + $"{string.Join(", ", all.SelectMany(r => r.Extensions).Distinct())}."
            );
        var text = new StringBuilder();
        Append(text, stream, name, all, mostCharacters, cancellation);
        return text.ToString();
    }

    private static void Append(
        StringBuilder text,
        Stream stream,
        string file,
        IReadOnlyList<IDocumentReader> readers,
        long most,
        CancellationToken cancellation
    )
    {
        var reader = readers.First(r => r.Extensions.Contains(DataFiles.GetExtension(file)));
        var buffer = new char[1 << 14];
        foreach (var (document, _) in DataFiles.Guard(reader.ReadUntil(stream, file, cancellation), file))
        {
            text.Append(text.Length > 0 ? "\n\n" : "");
            while (document.Read(buffer) is > 0 and var count)
            {
                cancellation.ThrowIfCancellationRequested();
                if (text.Length + count > most)
                    throw new DataException($"Cannot read {file} at once because it has more than {most:N0} characters. Split it.");
                text.Append(buffer, 0, count);
            }
        }
    }
}
