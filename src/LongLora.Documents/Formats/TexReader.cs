using System.Text;
using System.Text.RegularExpressions;
using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Documents.Formats;

/// <summary>LaTeX as its source, without comments and without what follows <c>\end{document}</c>.</summary>
internal sealed partial class TexReader : IDocumentReader
{
    /// <inheritdoc/>
    public IReadOnlyList<string> Extensions { get; } = [".tex", ".ltx"];

    /// <inheritdoc/>
    public IEnumerable<OpenedDocument> Read(Stream stream, string file)
    {
        using var text = new Utf8TextReader(stream, file);
        yield return new OpenedDocument(new StringReader(RemoveComments(text.ReadToEnd())), file);
    }

    [GeneratedRegex(@"\\begin\{(?<name>verbatim\*?|Verbatim\*?|lstlisting|minted|alltt|filecontents\*?)\}")]
    private static partial Regex Verbatim();

    private static string RemoveComments(string source)
    {
        var text = new StringBuilder(source.Length);
        string? verbatim = null;
        var isComment = false;
        foreach (var line in source.ReplaceLineEndings("\n").Split('\n'))
        {
            if (verbatim is not null)
            {
                text.Append(line).Append('\n');
                verbatim = line.Contains($"\\end{{{verbatim}}}", StringComparison.Ordinal) ? null : verbatim;
                continue;
            }
            if (isComment)
            {
                isComment = !line.Contains(@"\end{comment}", StringComparison.Ordinal);
                continue;
            }
            var end = FindComment(line);
            var kept = line[..end];
            if (end < line.Length && kept.Trim().Length == 0)
                continue;
            if (kept.TrimStart().StartsWith(@"\begin{comment}", StringComparison.Ordinal))
            {
                isComment = true;
                continue;
            }
            // A sign directly after a word also removes the line end, so it stays.
            text.Append(kept).Append(end < line.Length && !char.IsWhiteSpace(kept[^1]) ? "%" : "").Append('\n');
            if (kept.Contains(@"\end{document}", StringComparison.Ordinal))
                break;
            if (
                Verbatim().Match(kept) is { Success: true } begun
                && !kept.Contains(@"\end{" + begun.Groups["name"].Value, StringComparison.Ordinal)
            )
                verbatim = begun.Groups["name"].Value;
        }
        return text.ToString();
    }

    // Where the comment of a line begins, or its length.
    private static int FindComment(string line)
    {
        for (var i = 0; i < line.Length; i++)
        {
            if (line[i] == '%')
                return i;
            if (line[i] != '\\')
                continue;
            // \verb|...| and \lstinline|...| may contain the sign.
            foreach (var command in (string[])["\\verb*", "\\verb", "\\lstinline", "\\url", "\\href"])
            {
                if (string.CompareOrdinal(line, i, command, 0, command.Length) != 0 || i + command.Length >= line.Length)
                    continue;
                var open = line[i + command.Length];
                if (char.IsLetter(open) || char.IsWhiteSpace(open))
                    continue;
                var close = line.IndexOf(open == '{' ? '}' : open, i + command.Length + 1);
                i = close > 0 ? close - 1 : i;
                break;
            }
            i++;
        }
        return line.Length;
    }
}
