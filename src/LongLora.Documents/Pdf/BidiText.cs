using System.Globalization;
using System.Text;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Text in the order in which it is drawn, from left to right -> text in the order in which it is read. This is the Unicode bidirectional
/// algorithm (UAX 9) backwards, with the classes that decide: letters of both directions, European and Arabic numbers, and what stands
/// between numbers. Where two orders would be drawn alike, the simpler one is taken.
/// </summary>
internal static class BidiText
{
    private const string Brackets = "()[]{}<>«»‹›";

    private enum Kind
    {
        Left,
        Right,
        ArabicRight,
        Number,
        ArabicNumber,
        Separator,
        Sign,
        Terminator,
        Neutral,
    }

    /// <summary>Whether a text contains a letter that is written from right to left.</summary>
    public static bool HasRightToLeft(ReadOnlySpan<char> text)
    {
        foreach (var c in text)
        {
            if (c >= '\u0590' && IsRightToLeft(c))
                return true;
        }
        return false;
    }

    /// <summary>Whether a letter is written from right to left. Digits and marks are not.</summary>
    public static bool IsRightToLeft(char c) => GetKind(c) is Kind.Right or Kind.ArabicRight;

    /// <summary>Letters from right to left minus letters from left to right.</summary>
    public static int CountDirection(string text)
    {
        var count = 0;
        foreach (var c in text)
        {
            count += GetKind(c) switch
            {
                Kind.Right or Kind.ArabicRight => 1,
                Kind.Left => -1,
                _ => 0,
            };
        }
        return count;
    }

    /// <summary>
    /// What the brackets beside right-to-left letters say: positive if they are as they are drawn, negative if they are as they are
    /// written, so that an opening one is drawn as a closing one.
    /// </summary>
    public static int CountDrawnBrackets(string visual)
    {
        var count = 0;
        for (var i = 0; i < visual.Length; i++)
        {
            var at = Brackets.IndexOf(visual[i], StringComparison.Ordinal);
            if (at < 0)
                continue;
            var (before, after) = (i > 0 && IsRightToLeft(visual[i - 1]), i + 1 < visual.Length && IsRightToLeft(visual[i + 1]));
            if (before != after)
                count += after == (at % 2 == 0) ? 1 : -1;
        }
        return count;
    }

    /// <summary>The order in which a line is read.</summary>
    /// <param name="visual">One line as it is drawn, from left to right.</param>
    /// <param name="isRightToLeft">Whether its paragraph is written from right to left.</param>
    /// <param name="isDrawn">Whether brackets are as they are drawn, see <see cref="CountDrawnBrackets"/>.</param>
    public static string ToLogical(string visual, bool isRightToLeft, bool isDrawn)
    {
        if (!HasRightToLeft(visual))
            return visual;
        var clusters = new List<string>();
        for (var elements = StringInfo.GetTextElementEnumerator(visual); elements.MoveNext(); )
            clusters.Add(elements.GetTextElement());
        var kinds = clusters.ConvertAll(c => GetKind(c[0]));
        var text = new StringBuilder(visual.Length);
        for (var i = 0; i < clusters.Count; )
        {
            var end = isRightToLeft ? clusters.Count : FindRunEnd(kinds, i);
            if (end == i)
                text.Append(clusters[i++]);
            else
            {
                Reverse(clusters, kinds, i, end, isDrawn, text);
                i = end;
            }
        }
        return text.ToString();
    }

    // The end of the part that is read from right to left within a line read from left to right.
    private static int FindRunEnd(List<Kind> kinds, int start)
    {
        var end = start;
        for (var i = start; i < kinds.Count && kinds[i] != Kind.Left; i++)
        {
            if (kinds[i] is Kind.Right or Kind.ArabicRight)
                end = i + 1;
            else if (end == start)
                return start;
        }
        return end;
    }

    // Reads clusters from right to left. Numbers and words of the other direction keep their order.
    private static void Reverse(List<string> clusters, List<Kind> kinds, int start, int end, bool isDrawn, StringBuilder text)
    {
        for (var i = end - 1; i >= start; )
        {
            var from = FindLeftToRight(kinds, start, i);
            if (from > i)
            {
                text.Append(isDrawn ? Mirror(clusters[i]) : clusters[i]);
                i--;
                continue;
            }
            for (var j = from; j <= i; j++)
                text.Append(clusters[j]);
            i = from - 1;
        }
    }

    // Where the number or the foreign words begin that end at a cluster; behind the cluster if there are none.
    private static int FindLeftToRight(List<Kind> kinds, int start, int last)
    {
        if (kinds[last] == Kind.Left || (IsNumber(kinds[last]) && ReachesLeft(kinds, start, last)))
        {
            var from = last;
            for (var i = last; i >= start && kinds[i] is not (Kind.Right or Kind.ArabicRight); i--)
            {
                if (kinds[i] == Kind.Left || IsNumber(kinds[i]))
                    from = i;
            }
            // What belongs to a number at its left edge.
            while (from > start && IsNumber(kinds[from]) && kinds[from - 1] == Kind.Terminator)
                from--;
            return from;
        }
        return FindNumber(kinds, start, last);
    }

    // A number directly right of foreign words belongs to them.
    private static bool ReachesLeft(List<Kind> kinds, int start, int last)
    {
        for (var i = last; i >= start && kinds[i] is not (Kind.Right or Kind.ArabicRight); i--)
        {
            if (kinds[i] == Kind.Left)
                return true;
        }
        return false;
    }

    private static int FindNumber(List<Kind> kinds, int start, int last)
    {
        // After Arabic letters a sign or a percent sign is no part of a number (rules W2 and W5).
        var isArabic = false;
        for (var i = last + 1; i < kinds.Count; i++)
        {
            if (kinds[i] is Kind.Right or Kind.ArabicRight or Kind.Left)
            {
                isArabic = kinds[i] == Kind.ArabicRight;
                break;
            }
        }
        var end = last;
        while (!isArabic && end >= start && kinds[end] == Kind.Terminator)
            end--;
        if (end < start || !IsNumber(kinds[end]))
            return last + 1;
        var from = end;
        while (from > start)
        {
            if (IsNumber(kinds[from - 1]))
                from--;
            else if (
                from - 2 >= start
                && IsNumber(kinds[from - 2])
                && (kinds[from - 1] == Kind.Separator || (kinds[from - 1] == Kind.Sign && !isArabic))
            )
                from -= 2;
            else
                break;
        }
        while (!isArabic && from > start && kinds[from - 1] == Kind.Terminator)
            from--;
        return from;
    }

    private static bool IsNumber(Kind kind) => kind is Kind.Number or Kind.ArabicNumber;

    private static string Mirror(string cluster)
    {
        var at = Brackets.IndexOf(cluster[0], StringComparison.Ordinal);
        return at < 0 ? cluster : Brackets[at ^ 1] + cluster[1..];
    }

    private static Kind GetKind(char c) =>
        c switch
        {
            >= '0' and <= '9' or (>= '\u06F0' and <= '\u06F9') => Kind.Number,
            >= '\u0660' and <= '\u0669' or '\u066B' or '\u066C' => Kind.ArabicNumber,
            ',' or '.' or ':' or '/' or '\u00A0' or '\u060C' => Kind.Separator,
            '+' or '-' or '\u2212' => Kind.Sign,
            '%' or '$' or '#' or '€' or '£' or '¥' or '°' or '‰' or '\u066A' or '\u20AA' => Kind.Terminator,
            < 'A' => Kind.Neutral,
            >= '\u0600' and <= '\u07BF' or (>= '\u0860' and <= '\u08FF') or (>= '\uFB50' and <= '\uFDFF') or (>= '\uFE70' and < '\uFEFF') =>
                IsMark(c) ? Kind.Neutral : Kind.ArabicRight,
            >= '\u0590' and <= '\u085F' or (>= '\uFB1D' and <= '\uFB4F') or '\u200F' => IsMark(c) ? Kind.Neutral : Kind.Right,
            // Surrogates: nearly all such letters are written from left to right.
            _ => char.IsLetter(c) || char.IsSurrogate(c) ? Kind.Left : Kind.Neutral,
        };

    private static bool IsMark(char c) => CharUnicodeInfo.GetUnicodeCategory(c) is UnicodeCategory.NonSpacingMark or UnicodeCategory.Format;
}
