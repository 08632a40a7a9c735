using System.Globalization;
using System.Runtime.CompilerServices;
using System.Xml.Linq;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// OpenDocument texts as plain text: headings, lists and tables similar to Markdown, with footnotes and endnotes at the end. Tracked
/// deletions, hidden text, comments, page headers and footers are left out.
/// </summary>
internal sealed class OdtReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".odt", ".ott", ".fodt"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        yield return new OpenedDocument(new StringReader(ReadText(stream, file)), file);
    }

    private static string ReadText(Stream stream, string file)
    {
        try
        {
            // A document in a single XML file.
            if (DataFiles.GetExtension(file) == ".fodt")
                return Read([ZipParts.ParseXml(stream, file)], file);
            using var zip = ZipParts.Open(stream, file, "an OpenDocument text");
            if (
                zip.Contains("META-INF/manifest.xml")
                && zip.ReadXml("META-INF/manifest.xml").Descendants().Any(e => e.Name.LocalName == "encryption-data")
            )
                throw new DataException($"Cannot read {file} because it is encrypted with a password. Save it without a password.");
            if (!zip.Contains("content.xml"))
                throw new DataException($"Cannot read {file} as an OpenDocument text because it is a zip file without content.xml.");
            return Read([zip.ReadXml("content.xml"), .. zip.Contains("styles.xml") ? (XElement[])[zip.ReadXml("styles.xml")] : []], file);
        }
        catch (InsufficientExecutionStackException e)
        {
            throw new DataException($"Cannot read {file} because its elements are nested too deeply.", e);
        }
    }

    private static string Read(XElement[] parts, string file)
    {
        var body = parts[0]
            .Elements()
            .FirstOrDefault(e => e.Name.LocalName == "body")
            ?.Elements()
            .FirstOrDefault(e => e.Name.LocalName == "text")
            ?? throw new DataException($"Cannot read {file} because it is no OpenDocument text: it has no office:text. Save it as .odt.");
        return new Body(parts).Read(body);
    }

    private static string? Get(XElement element, string attribute) =>
        element.Attributes().FirstOrDefault(a => a.Name.LocalName == attribute)?.Value;

    private static int GetNumber(XElement element, string attribute, int standard) =>
        int.TryParse(Get(element, attribute), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : standard;

    private sealed class Body
    {
        private readonly BlockText _text = new();
        private readonly List<XElement> _notes = [];
        private readonly HashSet<(string Style, int Level)> _numbered = [];
        private readonly HashSet<string> _hidden = [];
        private readonly Dictionary<(string Style, int Level), int> _numbers = [];
        private int _cellDepth;

        public Body(XElement[] parts)
        {
            foreach (var style in parts.SelectMany(p => p.Descendants()))
            {
                if (
                    style.Name.LocalName == "list-level-style-number"
                    && style.Parent is { } list
                    && Get(style, "num-format") is { Length: > 0 }
                )
                    _numbered.Add((Get(list, "name") ?? "", GetNumber(style, "level", 1)));
                else if (style.Name.LocalName == "text-properties" && Get(style, "display") == "none" && style.Parent is { } hidden)
                    _hidden.Add(Get(hidden, "name") ?? "");
            }
        }

        public string Read(XElement body)
        {
            foreach (var element in body.Elements())
                AddBlock(element);
            _text.EndBlock();
            for (var i = 0; i < _notes.Count; i++)
            {
                _text.SetMark(string.Create(CultureInfo.InvariantCulture, $"[^{i + 1}]: "));
                _cellDepth++;
                AddInline(_notes[i]);
                _cellDepth--;
                _text.EndBlock();
            }
            return _text.ToString();
        }

        private void AddBlock(XElement element)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            switch (element.Name.LocalName)
            {
                case "tracked-changes"
                or "forms"
                or "sequence-decls"
                or "variable-decls"
                or "user-field-decls"
                or "table-of-content-source":
                case "section" or "p" or "h" when IsHidden(element):
                    break;
                case "h":
                    _text.EndBlock();
                    _text.SetMark(new string('#', Math.Clamp(GetNumber(element, "outline-level", 1), 1, 6)) + " ");
                    AddInline(element);
                    _text.EndBlock();
                    break;
                case "p":
                    _text.EndBlock();
                    AddInline(element);
                    _text.EndBlock();
                    break;
                case "list":
                    _text.EndBlock();
                    AddList(element, 1, Get(element, "style-name") ?? "");
                    _text.EndBlock();
                    break;
                case "table":
                    _text.EndBlock();
                    AddRows(element);
                    _text.EndBlock();
                    break;
                default:
                    foreach (var inner in element.Elements())
                        AddBlock(inner);
                    break;
            }
        }

        private bool IsHidden(XElement element) => Get(element, "display") == "none" || _hidden.Contains(Get(element, "style-name") ?? "");

        private void AddList(XElement list, int level, string style)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            var continues = Get(list, "continue-numbering") == "true" || Get(list, "continue-list") is not null;
            var number = continues ? _numbers.GetValueOrDefault((style, level), 1) : 1;
            foreach (var item in list.Elements().Where(e => e.Name.LocalName is "list-item" or "list-header"))
            {
                number = GetNumber(item, "start-value", number);
                _text.EndLine();
                var mark = _numbered.Contains((style, level)) ? string.Create(CultureInfo.InvariantCulture, $"{number}. ") : "- ";
                if (item.Elements().FirstOrDefault()?.Name.LocalName != "list" && item.Name.LocalName == "list-item")
                {
                    _text.SetMark(new string(' ', 2 * (level - 1)) + mark);
                    number++;
                    _numbers[(style, level)] = number;
                }
                foreach (var inner in item.Elements())
                {
                    if (inner.Name.LocalName == "list")
                        AddList(inner, level + 1, Get(inner, "style-name") ?? style);
                    else
                    {
                        AddInline(inner);
                        _text.EndLine();
                    }
                }
            }
        }

        private void AddRows(XElement table)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            foreach (var element in table.Elements())
            {
                if (element.Name.LocalName is "table-header-rows" or "table-rows" or "table-row-group")
                    AddRows(element);
                else if (element.Name.LocalName == "table-row")
                {
                    _text.EndLine();
                    AddCells(element);
                    _text.EndLine();
                }
            }
        }

        private void AddCells(XElement row)
        {
            var isFirst = true;
            foreach (var cell in row.Elements().Where(e => e.Name.LocalName == "table-cell"))
            {
                if (!isFirst)
                    _text.AddInline(" | ");
                isFirst = false;
                _cellDepth++;
                AddInline(cell);
                _cellDepth--;
            }
        }

        private void AddInline(XElement parent)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            foreach (var node in parent.Nodes())
            {
                if (node is XText words)
                    _text.AddInline(words.Value);
                else if (node is XElement element && !IsHidden(element))
                    AddInlineElement(element);
            }
        }

        private void AddInlineElement(XElement element)
        {
            switch (element.Name.LocalName)
            {
                case "s" or "tab":
                    _text.AddInline(" ");
                    break;
                case "line-break" when _cellDepth == 0:
                    _text.EndLine();
                    break;
                case "line-break":
                    _text.AddInline(" ");
                    break;
                case "note":
                    if (element.Elements().FirstOrDefault(e => e.Name.LocalName == "note-body") is { } note)
                    {
                        _notes.Add(note);
                        _text.AddInline(string.Create(CultureInfo.InvariantCulture, $"[^{_notes.Count}]"));
                    }
                    break;
                case "annotation"
                or "annotation-end"
                or "ruby-text"
                or "hidden-text"
                or "hidden-paragraph"
                or "title"
                or "desc"
                or "object"
                or "image":
                    break;
                // A cell is one line, with the paragraphs, lists and text boxes in it.
                case "p" or "h" or "list" or "list-item" or "table-row" or "table" when _cellDepth > 0:
                    _text.AddInline(" ");
                    AddInline(element);
                    _text.AddInline(" ");
                    break;
                case "p" or "h" or "list" or "table":
                    AddBlock(element); // in a text box
                    break;
                default:
                    AddInline(element);
                    break;
            }
        }
    }
}
