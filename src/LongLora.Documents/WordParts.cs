using System.IO.Compression;
using System.Xml;
using System.Xml.Linq;
using LongLora.Documents.Formats;
using LongLora.Runtime;

namespace LongLora.Documents;

/// <summary>
/// The parts of an Office Open XML package, found through its relationships as the standard asks (ECMA-376 part 2): the names of parts are
/// the writer's choice. Packages without relationships are read by the usual names.
/// </summary>
internal sealed class WordParts
{
    private const string UsualMain = "word/document.xml";

    private static readonly XmlReaderSettings s_settings = new()
    {
        DtdProcessing = DtdProcessing.Prohibit,
        XmlResolver = null,
        IgnoreComments = true,
    };

    private readonly string _file;
    private readonly Dictionary<string, ZipArchiveEntry> _entries;
    private readonly ILookup<string, string> _related;
    private readonly Dictionary<string, string> _targets;

    /// <summary>Opens a package.</summary>
    /// <param name="zip">It stays open as long as this is used.</param>
    /// <param name="file">Its name, for messages.</param>
    public WordParts(ZipArchive zip, string file)
    {
        _file = file;
        // Names of parts are equal regardless of case. Some writers use backslashes.
        _entries = zip
            .Entries.DistinctBy(e => Normalize(e.FullName), StringComparer.OrdinalIgnoreCase)
            .ToDictionary(e => Normalize(e.FullName), StringComparer.OrdinalIgnoreCase);
        Main = ReadRelationships("_rels/.rels", "").FirstOrDefault(r => r.Kind == "officeDocument" && _entries.ContainsKey(r.Target)).Target
            ?? (_entries.ContainsKey(UsualMain) ? UsualMain : null);
        var folder = Main?[..(Main.LastIndexOf('/') + 1)] ?? "";
        var relations = ReadRelationships($"{folder}_rels/{Main?[folder.Length..]}.rels", folder).ToList();
        _related = relations.ToLookup(r => r.Kind, r => r.Target);
        _targets = relations.DistinctBy(r => r.Id).ToDictionary(r => r.Id, r => r.Target, StringComparer.Ordinal);
        Folder = folder;
    }

    /// <summary>Name of the part with the text; null if there is none.</summary>
    public string? Main { get; }

    private string Folder { get; }

    /// <summary>The elements below a root element of the main part, one at a time.</summary>
    /// <param name="parent">Local name of the element that contains them.</param>
    public IEnumerable<XElement> ReadMain(string parent) => Main is null ? [] : ReadElements(Main, parent);

    /// <summary>The same for a part that belongs to the main part.</summary>
    /// <param name="kind">Last word of the type of the relationship, such as <c>styles</c>.</param>
    /// <param name="parent">Local name of the element that contains them.</param>
    public IEnumerable<XElement> ReadRelated(string kind, string parent) =>
        ReadElements(_related[kind].FirstOrDefault(_entries.ContainsKey) ?? $"{Folder}{kind}.xml", parent);

    /// <summary>A part to which an element of the main part refers: its name and its bytes.</summary>
    /// <param name="id">Identifier of the relationship.</param>
    /// <exception cref="DataException">There is no such part, or it is too large.</exception>
    public (string Name, Stream Content) OpenTarget(string? id)
    {
        if (id is null || !_targets.TryGetValue(id, out var target) || !_entries.TryGetValue(target, out var entry))
            throw new DataException(
                $"Cannot read {_file} because it includes another document ('{id}') whose part is missing. Save it again as .docx."
            );
        var bytes = new MemoryStream();
        using var stream = PackedPart.Open(entry, _file);
        stream.CopyTo(bytes);
        bytes.Position = 0;
        return ($"{_file}/{target}", bytes);
    }

    private IEnumerable<XElement> ReadElements(string part, string parent)
    {
        if (!_entries.TryGetValue(part, out var entry))
            yield break;
        using var xml = XmlReader.Create(PackedPart.Open(entry, _file), s_settings);
        while (xml.Read())
        {
            if (xml.NodeType != XmlNodeType.Element || xml.LocalName != parent || xml.IsEmptyElement)
                continue;
            xml.Read();
            while (xml.NodeType != XmlNodeType.EndElement && !xml.EOF)
            {
                if (xml.NodeType == XmlNodeType.Element)
                    yield return XmlDepth.Load(xml, _file);
                else
                    xml.Read();
            }
        }
    }

    // Both variants of the standard have the same last words in the types of relationships.
    private IEnumerable<(string Kind, string Target, string Id)> ReadRelationships(string part, string folder)
    {
        foreach (var element in ReadElements(part, "Relationships").Where(e => e.Name.LocalName == "Relationship"))
        {
            var (type, target) = ((string?)element.Attribute("Type") ?? "", (string?)element.Attribute("Target") ?? "");
            if ((string?)element.Attribute("TargetMode") != "External")
                yield return (type[(type.LastIndexOf('/') + 1)..], Resolve(folder, target), (string?)element.Attribute("Id") ?? "");
        }
    }

    private static string Resolve(string folder, string target)
    {
        var path = new List<string>();
        foreach (var step in (target.StartsWith('/') ? target : folder + target).Replace('\\', '/').Split('/'))
        {
            if (step == ".." && path.Count > 0)
                path.RemoveAt(path.Count - 1);
            else if (step is not ("" or "." or ".."))
                path.Add(Uri.UnescapeDataString(step));
        }
        return string.Join('/', path);
    }

    private static string Normalize(string name) => name.Replace('\\', '/').TrimStart('/');
}
