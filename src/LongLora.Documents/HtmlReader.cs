using System.Runtime.CompilerServices;
using AngleSharp.Dom;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents;

/// <summary>
/// HTML as plain text: the main part of the page if it is marked (<c>main</c>, <c>article</c>), without menus, scripts, fields to fill in,
/// footers and what is hidden.
/// Headings, lists and tables become similar to Markdown, preformatted text does not change, and formulas become the TeX that they contain.
/// </summary>
public sealed class HtmlReader : IDocumentReader
{
    private static readonly HashSet<string> s_left = new(StringComparer.OrdinalIgnoreCase)
    {
        "script",
        "style",
        "noscript",
        "template",
        "head",
        "nav",
        "footer",
        "aside",
        "button",
        "input",
        "select",
        "textarea",
        "svg",
        "canvas",
        "iframe",
        "object",
        "embed",
        "audio",
        "video",
        "dialog",
        "map",
        "img",
        "picture",
    };

    private static readonly HashSet<string> s_leftRoles = new(StringComparer.OrdinalIgnoreCase)
    {
        "navigation",
        "banner",
        "contentinfo",
        "search",
        "menu",
        "toolbar",
    };

    private static readonly HashSet<string> s_blocks = new(StringComparer.OrdinalIgnoreCase)
    {
        "address",
        "article",
        "blockquote",
        "body",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "main",
        "ol",
        "p",
        "section",
        "summary",
        "table",
        "caption",
        "tbody",
        "thead",
        "tfoot",
        "ul",
    };

    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".html", ".htm", ".xhtml"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        yield return new OpenedDocument(new StringReader(ReadText(stream, file)), file);
    }

    private static string ReadText(Stream stream, string file)
    {
        using var page = HtmlBytes.Parse(stream, file);
        return ReadText(page, file, isWhole: false);
    }

    /// <summary>The text of a parsed page.</summary>
    /// <param name="page">The page. The styles in it decide what is hidden.</param>
    /// <param name="file">Its name, for messages.</param>
    /// <param name="isWhole">Whether all of the body is content, as in a book or a letter.</param>
    internal static string ReadText(IDocument page, string file, bool isWhole)
    {
        try
        {
            var hidden = HiddenElements.Find(page);
            foreach (
                var parts in isWhole
                    ?
                    [
                        [page.Body ?? page.DocumentElement],
                    ]
                    : FindMainParts(page)
            )
            {
                var text = new BlockText();
                foreach (var part in parts)
                    new Walk(text, hidden, isWhole).AddChildren(part);
                // An element for the main part that a script was to fill, beside the text itself.
                if (text.ToString() is { } found && found.Any(char.IsLetterOrDigit))
                    return found;
            }
            return "";
        }
        catch (InsufficientExecutionStackException e)
        {
            throw new DataException($"Cannot read {file} because its elements are nested too deeply.", e);
        }
    }

    // Best first.
    private static IEnumerable<IElement[]> FindMainParts(IDocument page)
    {
        foreach (var kind in (string[])["main, [role=main]", "article"])
            yield return [.. page.QuerySelectorAll(kind).Where(e => e.ParentElement?.Closest(kind) is null)];
        yield return [page.Body ?? page.DocumentElement];
    }

    private sealed class Walk(BlockText text, IReadOnlySet<IElement> hidden, bool isWhole)
    {
        private const int LongForm = 200;
        private const string Labels = "label, legend, button, select, textarea, option, script, style";

        private int _listDepth;

        public void AddChildren(INode parent)
        {
            foreach (var node in parent.ChildNodes)
                Visit(node);
        }

        private void Visit(INode node)
        {
            RuntimeHelpers.EnsureSufficientExecutionStack();
            if (node is IText words)
                text.AddInline(words.Data);
            else if (node is IElement element && !IsLeftOut(element))
                Element(element);
        }

        private void Element(IElement element)
        {
            var name = element.LocalName;
            switch (name)
            {
                case "br":
                    text.EndLine();
                    break;
                case "pre":
                    text.AddVerbatim(element.TextContent);
                    break;
                case "math":
                    Formula(element);
                    break;
                case "tr":
                    Row(element);
                    break;
                case "ul" or "ol":
                    List(element, name == "ol");
                    break;
                case ['h', >= '1' and <= '6']:
                    text.EndBlock();
                    text.SetMark(new string('#', name[1] - '0') + " ");
                    AddChildren(element);
                    text.EndBlock();
                    break;
                default:
                    var isBlock = s_blocks.Contains(name);
                    if (isBlock)
                        text.EndBlock();
                    AddChildren(element);
                    if (isBlock)
                        text.EndBlock();
                    break;
            }
        }

        private void List(IElement list, bool numbered)
        {
            var number = int.TryParse(list.GetAttribute("start"), out var start) ? start : 1;
            if (_listDepth++ == 0)
                text.EndBlock();
            else
                text.EndLine();
            foreach (var item in list.Children)
            {
                text.EndLine();
                text.SetMark(new string(' ', 2 * (_listDepth - 1)) + (numbered ? $"{number++}. " : "- "));
                Item(item);
            }
            if (--_listDepth == 0)
                text.EndBlock();
            else
                text.EndLine();
        }

        // A paragraph that fills a whole item adds no empty line to the list.
        private void Item(IElement item)
        {
            foreach (var node in item.ChildNodes)
            {
                if (node is IElement { LocalName: "p" or "div" } inner)
                {
                    AddChildren(inner);
                    text.EndLine();
                }
                else
                    Visit(node);
            }
        }

        private void Row(IElement row)
        {
            text.EndLine();
            var first = true;
            foreach (var cell in row.Children.Where(c => c.LocalName is "td" or "th"))
            {
                if (!first)
                    text.AddInline(" | ");
                first = false;
                var inner = new BlockText();
                new Walk(inner, hidden, isWhole).AddChildren(cell);
                text.AddInline(inner.ToString());
            }
            text.EndLine();
        }

        private void Formula(IElement math)
        {
            var tex = math.QuerySelectorAll("annotation")
                .FirstOrDefault(a => a.GetAttribute("encoding") == "application/x-tex")
                ?.TextContent
                ?? math.GetAttribute("alttext");
            text.AddInline(tex is null ? math.TextContent : $"${tex.Trim()}$");
        }

        private bool IsLeftOut(IElement element) =>
            (s_left.Contains(element.LocalName) && !(isWhole && element.LocalName is "aside" or "footer"))
            || hidden.Contains(element)
            || element.HasAttribute("hidden")
            || element.GetAttribute("aria-hidden") == "true"
            || (element.GetAttribute("role") is { } role && s_leftRoles.Contains(role))
            || (element.LocalName == "form" && !isWhole && IsOnlyFields(element));

        // Some servers put the whole page into one form. A form to fill in has little text besides its labels.
        private static bool IsOnlyFields(IElement form)
        {
            if (form.QuerySelector("main, article, h1") is not null)
                return false;
            var length =
                CountLetters(form) - form.QuerySelectorAll(Labels).Where(e => e.ParentElement?.Closest(Labels) is null).Sum(CountLetters);
            return length < LongForm && 2 * length < CountLetters(form.Owner?.Body ?? form);
        }

        private static int CountLetters(IElement element) => element.TextContent.Count(c => !char.IsWhiteSpace(c));
    }
}
