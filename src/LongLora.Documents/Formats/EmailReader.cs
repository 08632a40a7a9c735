using System.Globalization;
using System.Text;
using AngleSharp.Html.Parser;
using LongLora.Data;
using LongLora.Runtime;
using MimeKit;
using MimeKit.Text;

namespace LongLora.Documents.Formats;

/// <summary>
/// E-mail (<c>.eml</c>, <c>.mbox</c>) and saved pages (<c>.mht</c>) as text: the subject as a heading, sender, receivers and date, then the
/// plain body, or the HTML body if there is no plain one. Attachments are named, but not read.
/// </summary>
internal sealed class EmailReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".eml", ".mbox", ".mht", ".mhtml"];

    static EmailReader() => Encoding.RegisterProvider(CodePagesEncodingProvider.Instance);

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        var extension = DataFiles.GetExtension(file);
        var parser = new MimeParser(stream, extension == ".mbox" ? MimeFormat.Mbox : MimeFormat.Entity);
        for (var number = 1; !parser.IsEndOfStream || number == 1; number++)
        {
            var origin = extension == ".mbox" ? $"{file}:{number}" : file;
            using var message = Parse(parser, origin);
            var text = extension.StartsWith(".mht", StringComparison.Ordinal) ? ReadBody(message, origin) : ReadMessage(message, origin);
            yield return new OpenedDocument(new StringReader(text), origin);
            if (extension != ".mbox")
                yield break;
        }
    }

    private static MimeMessage Parse(MimeParser parser, string origin)
    {
        try
        {
            return parser.ParseMessage();
        }
        catch (FormatException e)
        {
            throw new DataException($"Cannot read {origin} as an e-mail: {e.Message}", e);
        }
    }

    private static string ReadMessage(MimeMessage message, string origin)
    {
        var text = new StringBuilder();
        if (message.Subject is { Length: > 0 } subject)
            text.Append("# ").Append(subject.Trim()).Append("\n\n");
        AddHeader(text, "From", message.From);
        AddHeader(text, "To", message.To);
        AddHeader(text, "Cc", message.Cc);
        if (message.Headers.Contains(HeaderId.Date) && message.Date != DateTimeOffset.MinValue)
            text.Append(CultureInfo.InvariantCulture, $"Date: {message.Date:yyyy-MM-dd HH:mm zzz}\n");
        text.Append('\n').Append(ReadBody(message, origin).Trim()).Append('\n');
        foreach (var attachment in message.Attachments)
        {
            if ((attachment.ContentDisposition?.FileName ?? attachment.ContentType.Name) is { Length: > 0 } name)
                text.Append(CultureInfo.InvariantCulture, $"\n[Attachment: {name}]");
        }
        return text.ToString();
    }

    private static void AddHeader(StringBuilder text, string name, InternetAddressList addresses)
    {
        if (addresses.Count > 0)
            text.Append(CultureInfo.InvariantCulture, $"{name}: {string.Join(", ", addresses.Select(a => a.ToString()))}\n");
    }

    private static string ReadBody(MimeMessage message, string origin)
    {
        if (message.GetTextBody(TextFormat.Flowed) is { } flowed)
            return new FlowedToText { DeleteSpace = IsSpaceDeleted(message) }.Convert(flowed);
        if (message.TextBody is { Length: > 0 } plain)
            return plain;
        if (message.HtmlBody is not { } html)
            return "";
        HtmlDepth.Check(Encoding.UTF8.GetBytes(html), origin);
        using var page = new HtmlParser().ParseDocument(html);
        return HtmlReader.ReadText(page, origin, isWhole: true);
    }

    private static bool IsSpaceDeleted(MimeMessage message) =>
        message.BodyParts.OfType<TextPart>().FirstOrDefault(p => p.IsFlowed)?.ContentType.Parameters["delsp"] == "yes";
}
