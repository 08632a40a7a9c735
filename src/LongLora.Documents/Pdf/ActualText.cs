using UglyToad.PdfPig.Content;

namespace LongLora.Documents.Pdf;

/// <summary>
/// The texts that a page gives for groups of glyphs (<c>ActualText</c>), where glyphs are not letters one by one: vowel marks, ligatures,
/// scripts that reorder. Only short groups on one line are used, because long ones say nothing about columns.
/// </summary>
internal static class ActualText
{
    private const int LongestText = 16;

    /// <summary>A text and the letters that it replaces.</summary>
    internal sealed record Span(string Text, List<Letter> Letters);

    /// <summary>The span of every letter that has one.</summary>
    public static IReadOnlyDictionary<Letter, Span> Find(Page page)
    {
        var found = new Dictionary<Letter, Span>(ReferenceEqualityComparer.Instance);
        var pending = new Stack<MarkedContentElement>(page.GetMarkedContents());
        while (pending.TryPop(out var element))
        {
            foreach (var child in element.Children)
                pending.Push(child);
            if (
                element.ActualText is not { Length: > 0 and <= LongestText } text
                || element.Letters is not { Count: > 0 and <= LongestText } letters
                || letters.Any(l => Math.Abs(l.StartBaseLine.Y - letters[0].StartBaseLine.Y) > letters[0].PointSize)
                || !text.Any(c => c > '\u02FF')
            )
                continue;
            var span = new Span(text, [.. letters]);
            foreach (var letter in letters)
                found[letter] = span;
        }
        return found;
    }
}
