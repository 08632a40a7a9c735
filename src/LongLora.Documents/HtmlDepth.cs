using LongLora.Runtime;

namespace LongLora.Documents;

/// <summary>
/// Refuses pages whose elements are nested deeper than on any real page, before they are parsed: for each element the parser looks at all
/// that are open around it, and a page of 500 KB keeps it busy for a minute.
/// </summary>
internal static class HtmlDepth
{
    private const int Deepest = 2000;

    // Elements that need no end, or that another one of their kind ends.
    private static readonly HashSet<string> s_unclosed = new(StringComparer.OrdinalIgnoreCase)
    {
        "a",
        "area",
        "base",
        "body",
        "br",
        "button",
        "caption",
        "col",
        "colgroup",
        "dd",
        "dt",
        "embed",
        "frame",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "hr",
        "html",
        "img",
        "input",
        "li",
        "link",
        "meta",
        "nobr",
        "optgroup",
        "option",
        "p",
        "param",
        "rp",
        "rt",
        "select",
        "source",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "track",
        "wbr",
    };

    private static readonly HashSet<string> s_raw = new(StringComparer.OrdinalIgnoreCase)
    {
        "iframe",
        "noembed",
        "noframes",
        "script",
        "style",
        "textarea",
        "title",
        "xmp",
    };

    /// <summary>Estimates how deeply elements are nested.</summary>
    /// <param name="html">The page; of what is not ASCII nothing matters.</param>
    /// <param name="file">Its name, for messages.</param>
    /// <exception cref="DataException">They are nested too deeply.</exception>
    public static void Check(ReadOnlySpan<byte> html, string file)
    {
        var depth = 0;
        while (html.IndexOf((byte)'<') is >= 0 and var open && open + 1 < html.Length)
        {
            html = html[(open + 1)..];
            if (html.StartsWith("!--"u8))
            {
                html = Skip(html, "-->"u8);
                continue;
            }
            var isEnd = html[0] == '/';
            var name = ReadName(isEnd ? html[1..] : html);
            if (name.Length == 0 || s_unclosed.Contains(name))
                continue;
            if (isEnd)
            {
                depth = Math.Max(0, depth - 1);
                continue;
            }
            if (s_raw.Contains(name))
            {
                html = SkipRaw(html, name);
                continue;
            }
            var end = html.IndexOf((byte)'>');
            if (end > 0 && html[end - 1] == '/')
                continue;
            if (++depth > Deepest)
                throw new DataException(
                    $"Cannot read {file} because its elements are nested too deeply: more than {Deepest:N0}. It is damaged, or made to be "
                        + "harmful."
                );
        }
    }

    private static string ReadName(ReadOnlySpan<byte> html)
    {
        var length = 0;
        while (
            length < html.Length && length < 32 && (char.IsAsciiLetterOrDigit((char)html[length]) || html[length] is (byte)'-' or (byte)':')
        )
            length++;
        return length > 0 && char.IsAsciiLetter((char)html[0]) ? System.Text.Encoding.ASCII.GetString(html[..length]) : "";
    }

    private static ReadOnlySpan<byte> Skip(ReadOnlySpan<byte> html, ReadOnlySpan<byte> mark) =>
        html.IndexOf(mark) is >= 0 and var at ? html[(at + mark.Length)..] : default;

    private static ReadOnlySpan<byte> SkipRaw(ReadOnlySpan<byte> html, string name)
    {
        while (html.IndexOf("</"u8) is >= 0 and var at)
        {
            html = html[(at + 2)..];
            if (ReadName(html).Equals(name, StringComparison.OrdinalIgnoreCase))
                return html;
        }
        return default;
    }
}
