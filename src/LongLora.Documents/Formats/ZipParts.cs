using System.IO.Compression;
using System.Xml;
using System.Xml.Linq;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>The parts of a document that is a zip file. How much a part may inflate to is limited.</summary>
internal sealed class ZipParts : IDisposable
{
    private static readonly XmlReaderSettings s_settings = new()
    {
        DtdProcessing = DtdProcessing.Ignore,
        XmlResolver = null,
        IgnoreComments = true,
    };

    private readonly ZipArchive _zip;
    private readonly string _file;
    private readonly Dictionary<string, ZipArchiveEntry> _entries;

    private ZipParts(ZipArchive zip, string file)
    {
        (_zip, _file) = (zip, file);
        _entries = zip.Entries.DistinctBy(e => e.FullName).ToDictionary(e => e.FullName, StringComparer.Ordinal);
    }

    /// <summary>Opens a zip file.</summary>
    /// <param name="stream">The file. It is copied into memory if it is not seekable.</param>
    /// <param name="file">Its name, for messages.</param>
    /// <param name="kind">What it should be, with its article.</param>
    /// <exception cref="DataException">It is no zip file.</exception>
    public static ZipParts Open(Stream stream, string file, string kind)
    {
        try
        {
            return new ZipParts(new ZipArchive(DocxReader.MakeSeekable(stream), ZipArchiveMode.Read, leaveOpen: true), file);
        }
        catch (InvalidDataException e)
        {
            throw new DataException($"Cannot read {file} as {kind} because it is not a zip file: {e.Message}", e);
        }
    }

    /// <summary>Names of all parts.</summary>
    public IEnumerable<string> Names => _entries.Keys;

    /// <summary>Whether there is such a part.</summary>
    public bool Contains(string name) => _entries.ContainsKey(name);

    /// <summary>The bytes of a part.</summary>
    /// <exception cref="DataException">It does not exist, is damaged, or is too large.</exception>
    public MemoryStream Read(string name)
    {
        if (!_entries.TryGetValue(name, out var entry))
            throw new DataException($"Cannot read {_file} because its part '{name}' is missing. Save or download it again.");
        var bytes = new MemoryStream();
        try
        {
            using var stream = PackedPart.Open(entry, _file);
            stream.CopyTo(bytes);
        }
        catch (InvalidDataException e)
        {
            throw new DataException($"Cannot read {_file} because its part '{name}' is damaged: {e.Message}", e);
        }
        bytes.Position = 0;
        return bytes;
    }

    /// <summary>The root element of a part.</summary>
    /// <exception cref="DataException">The part does not exist or is damaged.</exception>
    public XElement ReadXml(string name) => ParseXml(Read(name), $"{_file}, part '{name}'");

    /// <summary>The root element of an XML file. Document type definitions are ignored.</summary>
    /// <exception cref="DataException">The file is damaged.</exception>
    public static XElement ParseXml(Stream stream, string file)
    {
        try
        {
            using var xml = XmlReader.Create(stream, s_settings);
            xml.MoveToContent();
            return XmlDepth.Load(xml, file);
        }
        catch (XmlException e)
        {
            throw new DataException($"Cannot read {file} as XML: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _zip.Dispose();
}
