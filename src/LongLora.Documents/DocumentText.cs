using System.Text;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents;

/// <summary>Whole documents as text, for a prompt.</summary>
public static class DocumentText
{
    private static readonly IReadOnlyList<IDocumentReader> s_readers = [.. DocumentReaders.Plain, .. DocumentFormats.All];

    /// <summary>The text of a file, or of all files in a folder one after the other, with an empty line between documents.</summary>
    /// <param name="path">A text, Markdown, PDF, Word or HTML file, gzipped or not, or a folder of these.</param>
    /// <exception cref="DataException">It does not exist, is damaged, or has an unsupported type.</exception>
    public static string Read(string path)
    {
        var text = new StringBuilder();
        foreach (var file in DataFiles.Expand([path], [.. s_readers.SelectMany(r => r.Extensions)]))
        {
            using var stream = DataFiles.Open(file);
            Append(text, stream, file);
        }
        return text.ToString();
    }

    /// <summary>The text of a document that is not a local file, such as an upload.</summary>
    /// <param name="stream">Its bytes, decompressed.</param>
    /// <param name="name">Its file name, whose extension gives the type.</param>
    /// <exception cref="DataException">It is damaged or has an unsupported type.</exception>
    public static string Read(Stream stream, string name)
    {
        if (!s_readers.Any(r => r.Extensions.Contains(DataFiles.GetExtension(name))))
            throw new DataException(
                $"Cannot read '{name}' because its type is not supported. The supported types are "
                    + $"{string.Join(", ", s_readers.SelectMany(r => r.Extensions).Distinct())}."
            );
        var text = new StringBuilder();
        Append(text, stream, name);
        return text.ToString();
    }

    private static void Append(StringBuilder text, Stream stream, string file)
    {
        var reader = s_readers.First(r => r.Extensions.Contains(DataFiles.GetExtension(file)));
        foreach (var (document, _) in DataFiles.Guard(reader.Read(stream, file), file))
            text.Append(text.Length > 0 ? "\n\n" : "").Append(document.ReadToEnd());
    }
}
