using System.Text;
using System.Text.RegularExpressions;
using System.Text.Unicode;
using AngleSharp.Html.Dom;
using AngleSharp.Html.Parser;

namespace LongLora.Documents;

/// <summary>
/// Bytes of a page -> page. The encoding is that of the byte order mark, of the XML declaration, or of the page's <c>meta</c>. A page that
/// names none is UTF-8 if its bytes are, and windows-1252 otherwise, as in browsers.
/// </summary>
internal static partial class HtmlBytes
{
    private const int HeadBytes = 4096;

    static HtmlBytes() => Encoding.RegisterProvider(CodePagesEncodingProvider.Instance); // pages in windows-1252 and the like

    /// <summary>Reads a page to its end.</summary>
    /// <param name="stream">The page.</param>
    /// <param name="file">Its name, for messages.</param>
    /// <exception cref="LongLora.Runtime.DataException">Its elements are nested too deeply.</exception>
    public static IHtmlDocument Parse(Stream stream, string file)
    {
        using var memory = new MemoryStream();
        stream.CopyTo(memory);
        var bytes = memory.GetBuffer().AsSpan(0, (int)memory.Length);
        HtmlDepth.Check(bytes, file);
        var text = Decode(bytes);
        memory.Position = 0;
        return text is null ? new HtmlParser().ParseDocument(memory) : new HtmlParser().ParseDocument(text);
    }

    [GeneratedRegex(@"<meta\s[^>]*charset", RegexOptions.IgnoreCase)]
    private static partial Regex Meta();

    [GeneratedRegex(@"^\s*<\?xml\s[^>]*encoding\s*=\s*[""'](?<name>[A-Za-z0-9_.:-]+)[""']", RegexOptions.IgnoreCase)]
    private static partial Regex Declaration();

    // Null where the parser finds the encoding itself.
    private static string? Decode(ReadOnlySpan<byte> bytes)
    {
        if (bytes is [0xEF, 0xBB, 0xBF, ..] or [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..])
            return null;
        var head = Encoding.Latin1.GetString(bytes[..Math.Min(HeadBytes, bytes.Length)]);
        if (Meta().IsMatch(head))
            return null;
        if (Declaration().Match(head) is { Success: true } match)
        {
            try
            {
                // A declaration that can be read byte by byte is not in UTF-16, whatever it says.
                var named = Encoding.GetEncoding(match.Groups["name"].Value);
                if (named is not (UnicodeEncoding or UTF32Encoding))
                    return named.GetString(bytes);
            }
            catch (ArgumentException)
            {
                // An encoding that nobody knows: as if none were named.
            }
        }
        return (Utf8.IsValid(bytes) ? Encoding.UTF8 : Encoding.GetEncoding(1252)).GetString(bytes);
    }
}
