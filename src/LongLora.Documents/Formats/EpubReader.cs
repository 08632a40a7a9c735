using System.Xml.Linq;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// EPUB books as plain text: the chapters in the order of the spine, each as <see cref="HtmlReader"/> reads a page, but with everything in
/// it. The table of contents is left out.
/// </summary>
internal sealed class EpubReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".epub"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        yield return new OpenedDocument(new StringReader(ReadText(stream, file)), file);
    }

    private static string ReadText(Stream stream, string file)
    {
        using var zip = ZipParts.Open(stream, file, "an EPUB book");
        if (!zip.Contains("META-INF/container.xml"))
            throw new DataException($"Cannot read {file} as an EPUB book because it is a zip file without META-INF/container.xml.");
        var main = (string?)Find(zip.ReadXml("META-INF/container.xml"), "rootfile").FirstOrDefault()?.Attribute("full-path")
            ?? throw new DataException($"Cannot read {file} as an EPUB book because META-INF/container.xml names no package document.");
        var package = zip.ReadXml(main);
        var items = Find(package, "item").DistinctBy(e => (string?)e.Attribute("id")).ToDictionary(e => (string?)e.Attribute("id") ?? "");
        var locked = FindLocked(zip);
        var chapters = new List<string>();
        var read = new HashSet<XElement>();
        foreach (var reference in Find(package, "itemref"))
        {
            if (
                !items.TryGetValue((string?)reference.Attribute("idref") ?? "", out var item)
                || Split((string?)item.Attribute("properties")).Contains("nav")
                || (string?)item.Attribute("media-type") is not ("application/xhtml+xml" or "text/html" or "text/x-oeb1-document")
                || !read.Add(item) // the standard allows a chapter once
            )
                continue;
            var name = Resolve(main, (string?)item.Attribute("href") ?? "");
            if (locked.Contains(name))
                throw new DataException($"Cannot read {file} because it is encrypted (DRM). Use a copy without protection.");
            using var page = HtmlBytes.Parse(zip.Read(name), file);
            if (HtmlReader.ReadText(page, file, isWhole: true) is { Length: > 0 } text)
                chapters.Add(text);
        }
        return string.Join("\n\n", chapters);
    }

    private static IEnumerable<XElement> Find(XElement root, string name) => root.Descendants().Where(e => e.Name.LocalName == name);

    private static string[] Split(string? words) => (words ?? "").Split(' ', StringSplitOptions.RemoveEmptyEntries);

    // Many books only obfuscate their fonts.
    private static HashSet<string> FindLocked(ZipParts zip) =>
        zip.Contains("META-INF/encryption.xml")
            ?
            [
                .. Find(zip.ReadXml("META-INF/encryption.xml"), "CipherReference")
                    .Select(e => Resolve("", (string?)e.Attribute("URI") ?? "")),
            ]
            : [];

    private static string Resolve(string main, string href)
    {
        var path = new List<string>(main.Split('/')[..^1]);
        foreach (var step in Uri.UnescapeDataString(href.Split('#')[0]).Split('/'))
        {
            if (step == ".." && path.Count > 0)
                path.RemoveAt(path.Count - 1);
            else if (step is not ("" or "." or ".."))
                path.Add(step);
        }
        return string.Join('/', path);
    }
}
