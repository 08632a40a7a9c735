using System.Globalization;
using System.IO.Compression;
using System.Runtime.CompilerServices;
using System.Xml;
using System.Xml.Linq;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents;

/// <summary>
/// Word documents as plain text: headings, lists and tables similar to Markdown, with footnotes and endnotes at the end. Tracked deletions,
/// hidden text, field codes, comments, page headers and footers are left out. Documents in other formats inside (<c>altChunk</c>) are read
/// as files of their type. The text is read bit by bit, so a long document needs little
/// memory.
/// </summary>
/// <remarks>
/// Elements are recognized by their local names, which both variants of the standard (ECMA-376 transitional and strict) share.
/// </remarks>
public sealed class DocxReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".docx", ".docm"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        yield return new OpenedDocument(new StringReader(ReadText(MakeSeekable(stream), file)), file);
    }

    /// <summary>The stream itself, or a copy in memory if it is not seekable, such as a gzipped one.</summary>
    internal static Stream MakeSeekable(Stream stream)
    {
        if (stream.CanSeek)
            return stream;
        var copy = new MemoryStream();
        stream.CopyTo(copy);
        copy.Position = 0;
        return copy;
    }

    private static string ReadText(Stream stream, string file)
    {
        try
        {
            using var zip = new ZipArchive(stream, ZipArchiveMode.Read, leaveOpen: true);
            var parts = new WordParts(zip, file);
            if (parts.Main is null)
                throw new DataException(
                    $"Cannot read {file} as a Word document because it is a zip file without a main part: its relationships name none, "
                        + $"and there is no word/document.xml. Save it again as .docx."
                );
            return new Body(parts).Read();
        }
        catch (InsufficientExecutionStackException e)
        {
            throw new DataException($"Cannot read {file} because its elements are nested too deeply.", e);
        }
        catch (Exception e) when (e is InvalidDataException or XmlException)
        {
            var isEncrypted = IsCompoundFile(stream);
            throw new DataException(
                isEncrypted
                    ? $"Cannot read {file} because it is encrypted with a password, or because it is a Word document in the old format "
                        + $"(.doc). Save it as .docx without a password."
                    : $"Cannot read {file} as a Word document: {e.Message}",
                e
            );
        }
    }

    // Encrypted documents and those of Word 97 are OLE compound files instead of zip files.
    private static bool IsCompoundFile(Stream stream)
    {
        var head = new byte[4];
        stream.Position = 0;
        return stream.ReadAtLeast(head, 4, throwOnEndOfStream: false) == 4 && head.AsSpan().SequenceEqual<byte>([0xD0, 0xCF, 0x11, 0xE0]);
    }

    private static XElement? FindChild(XElement? element, string name) => element?.Elements().FirstOrDefault(e => e.Name.LocalName == name);

    private static string? GetValue(XElement? element, string attribute = "val") =>
        element?.Attributes().FirstOrDefault(a => a.Name.LocalName == attribute)?.Value;

    private static int? ParseNumber(string? text) =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : null;

    /// <summary>The walk through one document.</summary>
    private sealed class Body(WordParts parts)
    {
        private readonly BlockText _text = new();
        private readonly Dictionary<string, int> _headings = ReadHeadings(parts);
        private readonly Dictionary<(string List, int Level), string> _formats = ReadNumbering(parts);
        private readonly Dictionary<(string List, int Level), int> _counts = [];
        private readonly List<(string Part, string Id)> _notes = [];
        private readonly Dictionary<(string Part, string Id), int> _numbers = [];
        private string? _list;
        private int _cellDepth;

        public string Read()
        {
            foreach (var element in parts.ReadMain("body"))
                AddBlock(element);
            _text.EndBlock();
            AddNotes("footnotes");
            AddNotes("endnotes");
            return _text.ToString();
        }

        private void AddBlock(XElement element)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            switch (element.Name.LocalName)
            {
                case "p":
                    AddParagraph(element);
                    break;
                case "tbl":
                    _text.EndBlock();
                    AddRows(element);
                    _text.EndBlock();
                    break;
                case "sdt" or "sdtContent" or "customXml" or "smartTag" or "ins" or "moveTo" or "AlternateContent" or "Choice":
                    foreach (var inner in element.Elements())
                        AddBlock(inner);
                    break;
                case "altChunk":
                    AddForeign(element);
                    break;
            }
        }

        // A document in another format, such as a web page, which Word converts when it opens the file.
        private void AddForeign(XElement element)
        {
            var (name, content) = parts.OpenTarget(GetValue(element, "id"));
            using (content)
                _text.AddVerbatim(DocumentText.Read(content, name));
        }

        private void AddParagraph(XElement paragraph)
        {
            var properties = FindChild(paragraph, "pPr");
            var heading =
                ParseNumber(GetValue(FindChild(properties, "outlineLvl"))) is { } level and < 9 ? level + 1
                : GetValue(FindChild(properties, "pStyle")) is { } style ? _headings.GetValueOrDefault(style)
                : 0;
            var list = heading == 0 ? MakeListMark(FindChild(properties, "numPr")) : null;
            // If another list follows at its own level, this one has ended.
            var isInner = list?.StartsWith(' ') == true;
            var number = list is null ? null : GetValue(FindChild(FindChild(properties, "numPr"), "numId"));
            if (list is null || (!isInner && number != _list))
                _text.EndBlock();
            else
                _text.EndLine();
            _list = isInner ? _list : number;
            _text.SetMark(heading > 0 ? new string('#', Math.Min(heading, 6)) + " " : list ?? "");
            AddRuns(paragraph);
            if (list is null)
                _text.EndBlock();
            else
                _text.EndLine();
        }

        private string? MakeListMark(XElement? numbering)
        {
            if (GetValue(FindChild(numbering, "numId")) is not { } list || list == "0")
                return null;
            var level = Math.Clamp(ParseNumber(GetValue(FindChild(numbering, "ilvl"))) ?? 0, 0, 8);
            var indent = new string(' ', 2 * level);
            if (_formats.GetValueOrDefault((list, level), "bullet") is "bullet" or "none")
                return indent + "- ";
            var count = _counts[(list, level)] = _counts.GetValueOrDefault((list, level)) + 1;
            for (var below = level + 1; below <= 8; below++)
                _counts.Remove((list, below));
            return string.Create(CultureInfo.InvariantCulture, $"{indent}{count}. ");
        }

        private void AddRuns(XElement parent)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            foreach (var element in parent.Elements())
            {
                switch (element.Name.LocalName)
                {
                    case "pPr"
                    or "rPr"
                    or "tcPr"
                    or "trPr"
                    or "tblPr"
                    or "tblGrid"
                    or "rt"
                    or "del"
                    or "moveFrom"
                    or "instrText"
                    or "delText"
                    or "Fallback"
                    or "drawing" when !HasTextBox(element):
                        break;
                    case "r" when FindChild(FindChild(element, "rPr"), "vanish") is { } hidden && GetValue(hidden) is not ("0" or "false"):
                        break;
                    case "t":
                        _text.AddInline(element.Value);
                        break;
                    case "tab":
                        _text.AddInline(" ");
                        break;
                    case "sym" when GetValue(element, "char") is { } code:
                        AddSymbol(code);
                        break;
                    case "noBreakHyphen":
                        _text.AddInline("-");
                        break;
                    case "br" or "cr" when _cellDepth > 0:
                        _text.AddInline(" ");
                        break;
                    case "br" or "cr":
                        _text.EndLine();
                        break;
                    case "footnoteReference" or "endnoteReference":
                        _text.AddInline(string.Create(CultureInfo.InvariantCulture, $"[^{NumberNote(element)}]"));
                        break;
                    // A cell is one line, with the text boxes and tables in it.
                    case "p" or "tr" or "tbl" when _cellDepth > 0:
                        _text.AddInline(" ");
                        AddRuns(element);
                        _text.AddInline(" ");
                        break;
                    case "p":
                        AddParagraph(element); // in a text box
                        break;
                    case "tbl":
                        AddBlock(element);
                        break;
                    default:
                        AddRuns(element);
                        break;
                }
            }
        }

        // A note that the text refers to again keeps its number.
        private int NumberNote(XElement reference)
        {
            var note = (reference.Name.LocalName[..^"Reference".Length], GetValue(reference, "id") ?? "");
            if (!_numbers.TryGetValue(note, out var number))
            {
                _notes.Add(note);
                _numbers[note] = number = _notes.Count;
            }
            return number;
        }

        // Letters of fonts such as Wingdings are in the private area. They have no meaning outside their font.
        private void AddSymbol(string code)
        {
            if (
                ushort.TryParse(code, NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var number) && number is > 0x20 and < 0xD800
            )
                _text.AddInline([(char)number]);
        }

        private static bool HasTextBox(XElement element) =>
            element.Name.LocalName == "drawing" && element.Descendants().Any(e => e.Name.LocalName == "txbxContent");

        // Rows and cells may be inside content controls.
        private void AddRows(XElement parent)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            foreach (var element in parent.Elements())
            {
                if (element.Name.LocalName == "tr" && FindChild(FindChild(element, "trPr"), "del") is null)
                {
                    _text.EndLine();
                    AddCells(element, true);
                    _text.EndLine();
                }
                else if (element.Name.LocalName is "sdt" or "sdtContent" or "customXml" or "ins")
                    AddRows(element);
            }
        }

        private bool AddCells(XElement parent, bool first)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            foreach (var element in parent.Elements())
            {
                if (element.Name.LocalName == "tc")
                {
                    if (!first)
                        _text.AddInline(" | ");
                    first = false;
                    _cellDepth++;
                    AddRuns(element);
                    _cellDepth--;
                }
                else if (element.Name.LocalName is "sdt" or "sdtContent" or "customXml" or "ins")
                    first = AddCells(element, first);
            }
            return first;
        }

        private void AddNotes(string parent)
        {
            var kind = parent[..^1];
            var numbers = _notes
                .Select((n, i) => (n.Part, n.Id, Number: i + 1))
                .Where(n => n.Part == kind)
                .ToLookup(n => n.Id, n => n.Number);
            foreach (var note in parts.ReadRelated(parent, parent))
            {
                foreach (var number in numbers[GetValue(note, "id") ?? ""])
                {
                    _text.EndBlock();
                    _text.SetMark(string.Create(CultureInfo.InvariantCulture, $"[^{number}]: "));
                    foreach (var paragraph in note.Elements().Where(e => e.Name.LocalName == "p"))
                    {
                        AddRuns(paragraph);
                        _text.AddInline(" ");
                    }
                    _text.EndBlock();
                }
            }
        }

        // Style id -> heading level, from its outline level or from Word's names, following the styles that it is based on.
        private static Dictionary<string, int> ReadHeadings(WordParts parts)
        {
            var styles = parts
                .ReadRelated("styles", "styles")
                .Where(e => e.Name.LocalName == "style")
                .Select(e => (Id: GetValue(e, "styleId") ?? "", Style: e))
                .DistinctBy(s => s.Id)
                .ToDictionary(s => s.Id, s => s.Style);
            int Level(string id, int depth)
            {
                if (depth > 10 || !styles.TryGetValue(id, out var style))
                    return 0;
                if (ParseNumber(GetValue(FindChild(FindChild(style, "pPr"), "outlineLvl"))) is { } level)
                    return level < 9 ? level + 1 : 0;
                var name = GetValue(FindChild(style, "name"))?.ToLowerInvariant() ?? "";
                if (name == "title")
                    return 1;
                if (name.StartsWith("heading ", StringComparison.Ordinal) && ParseNumber(name[8..]) is { } number)
                    return number;
                return GetValue(FindChild(style, "basedOn")) is { } parent ? Level(parent, depth + 1) : 0;
            }
            return styles.Keys.ToDictionary(id => id, id => Level(id, 0));
        }

        private static Dictionary<(string List, int Level), string> ReadNumbering(WordParts parts)
        {
            var all = parts.ReadRelated("numbering", "numbering").ToList();
            var kinds = all.Where(e => e.Name.LocalName == "abstractNum")
                .DistinctBy(e => GetValue(e, "abstractNumId"))
                .ToDictionary(e => GetValue(e, "abstractNumId") ?? "");
            var formats = new Dictionary<(string, int), string>();
            foreach (var list in all.Where(e => e.Name.LocalName == "num"))
            {
                if (!kinds.TryGetValue(GetValue(FindChild(list, "abstractNumId")) ?? "", out var kind))
                    continue;
                foreach (var level in kind.Elements().Where(e => e.Name.LocalName == "lvl"))
                    formats[(GetValue(list, "numId") ?? "", ParseNumber(GetValue(level, "ilvl")) ?? 0)] = GetValue(
                        FindChild(level, "numFmt")
                    ) ?? "decimal";
            }
            return formats;
        }
    }
}
