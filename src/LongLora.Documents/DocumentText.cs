using System.Text;
using LongLora.Data;

namespace LongLora.Documents;

/// <summary>Whole documents as text, for a prompt.</summary>
public static class DocumentText
{
    private static readonly IReadOnlyList<IDocumentReader> s_readers = [.. DocumentReaders.Plain, .. DocumentFormats.All];

    /// <summary>The text of a file, or of all files of a folder one after the other, with an empty line between documents.</summary>
    /// <param name="path">A text, Markdown, PDF, Word or HTML file, gzipped or not, or a folder of such.</param>
    /// <exception cref="LongLora.Runtime.DataException">It is missing, damaged, or of a kind that cannot be read.</exception>
    public static string Read(string path)
    {
        var text = new StringBuilder();
        foreach (var file in DataFiles.Expand([path], [.. s_readers.SelectMany(r => r.Extensions)]))
        {
            using var stream = DataFiles.Open(file);
            var reader = s_readers.First(r => r.Extensions.Contains(DataFiles.Extension(file)));
            foreach (var (document, _) in DataFiles.Guard(reader.Read(stream, file), file))
                text.Append(text.Length > 0 ? "\n\n" : "").Append(document.ReadToEnd());
        }
        return text.ToString();
    }
}
