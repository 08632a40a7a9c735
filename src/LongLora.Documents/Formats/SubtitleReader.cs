using System.Net;
using System.Text;
using System.Text.RegularExpressions;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>
/// Subtitles (SubRip and WebVTT) as what is said: one line per cue, without numbers, times, styles and tags. A line that a cue repeats from
/// the cue before is written once. The name of a speaker in a WebVTT tag comes first.
/// </summary>
internal sealed partial class SubtitleReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".srt", ".vtt"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        using var text = new Utf8TextReader(stream, file);
        yield return new OpenedDocument(new StringReader(ReadCues(text.ReadToEnd())), file);
    }

    [GeneratedRegex(@"^\s*(?:\d+:)?\d+:\d{2}[.,]\d+\s+-->\s")]
    private static partial Regex Times();

    [GeneratedRegex(@"<v(?:\.[^\s>]*)?\s+(?<name>[^>]+)>")]
    private static partial Regex Voice();

    [GeneratedRegex(@"</?[A-Za-z0-9][^>]*>|\{\\[^}]*\}")]
    private static partial Regex Tag();

    private static string ReadCues(string source)
    {
        var text = new StringBuilder();
        HashSet<string> before = [];
        var lines = source.ReplaceLineEndings("\n").Split('\n');
        for (var i = 0; i < lines.Length; i++)
        {
            // Whatever is not below a line of times is a number, a name, a note or a style.
            if (!Times().IsMatch(lines[i]))
                continue;
            HashSet<string> cue = [];
            var said = new StringBuilder();
            while (i + 1 < lines.Length && lines[i + 1].Trim().Length > 0 && !Times().IsMatch(lines[i + 1]))
            {
                var line = Tag().Replace(Voice().Replace(lines[++i], "${name}: "), "");
                line = WebUtility.HtmlDecode(line).Replace('\u00A0', ' ').Trim();
                if (line.Length > 0 && cue.Add(line) && !before.Contains(line))
                    said.Append(said.Length > 0 ? " " : "").Append(line);
            }
            before = cue;
            if (said.Length > 0)
                text.Append(said).Append('\n');
        }
        return text.ToString();
    }
}
