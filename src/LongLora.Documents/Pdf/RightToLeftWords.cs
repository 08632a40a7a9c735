using System.Globalization;
using System.Text;
using LongLora.Tokenization;

namespace LongLora.Documents.Pdf;

/// <summary>
/// Right-to-left letters of a page -> words whose letters are in the order from left to right, in whatever order the file draws them.
/// Points and vowel marks follow the letter above or below which they are drawn.
/// </summary>
internal static class RightToLeftWords
{
    /// <summary>Whether a letter belongs here: a letter written from right to left, or a mark of such letters.</summary>
    public static bool Includes(string letter)
    {
        var isMark = letter.Length > 0;
        foreach (var c in letter)
        {
            if (c >= '\u0590' && BidiText.IsRightToLeft(c))
                return true;
            isMark &= IsMark(c) && c is (>= '\u0590' and <= '\u08FF') or (>= '\uFB1D' and <= '\uFEFF');
        }
        return isMark;
    }

    /// <summary>The words, each with its text from left to right.</summary>
    /// <param name="letters">Letters of one page, each as a word.</param>
    public static IEnumerable<PdfWord> Join(IReadOnlyList<PdfWord> letters)
    {
        var (bases, marks) = (new List<(PdfWord Word, string Marks)>(), new List<PdfWord>());
        foreach (var letter in letters)
        {
            var plain = Normalize(letter.Text);
            if (plain.Length > 0 && plain.All(IsMark))
                marks.Add(letter with { Text = plain });
            else if (plain.Length > 0)
                bases.Add((letter with { Text = plain }, ""));
        }
        foreach (var mark in marks)
        {
            var nearest = FindBase(bases, mark);
            if (nearest >= 0)
                bases[nearest] = bases[nearest] with { Marks = bases[nearest].Marks + mark.Text };
        }
        PdfWord? word = null;
        foreach (var (letter, itsMarks) in bases.OrderBy(b => b.Word, RowOrder.Instance))
        {
            var text = ToVisual(TextStep.Rewrite(CanonicalForm.C, letter.Text + itsMarks));
            if (word is { } open && Continues(open, letter))
                word = open with { Text = open.Text + text, Right = Math.Max(open.Right, letter.Right) };
            else
            {
                if (word is { } done)
                    yield return done;
                word = letter with { Text = text };
            }
        }
        if (word is { } last)
            yield return last;
    }

    private static bool Continues(PdfWord word, PdfWord next)
    {
        var size = Math.Max(word.Size, next.Size);
        return Math.Abs(word.Baseline - next.Baseline) < 0.1 * size
            && Math.Abs(word.Size - next.Size) < 0.2 * size
            && !PageWords.IsSpace(next.Left - word.Right, size)
            && next.Left > word.Right - size;
    }

    private static int FindBase(List<(PdfWord Word, string Marks)> bases, PdfWord mark)
    {
        var (best, nearest) = (-1, double.PositiveInfinity);
        var middle = (mark.Left + mark.Right) / 2;
        for (var i = 0; i < bases.Count; i++)
        {
            var word = bases[i].Word;
            var away = Math.Abs(word.Baseline - mark.Baseline);
            if (away > word.Size)
                continue;
            var distance =
                Math.Max(0, Math.Max(word.Left - middle, middle - word.Right))
                + 0.1 * Math.Abs((word.Left + word.Right) / 2 - middle)
                + away;
            if (distance < nearest)
                (best, nearest) = (i, distance);
        }
        return best;
    }

    /// <summary>
    /// Forms that fonts choose by the neighbors (presentation forms) -> the letters that they stand for. Signs that are written as one,
    /// such
    /// as U+FDFA, stay.
    /// </summary>
    internal static string Normalize(string letters)
    {
        var text = new StringBuilder(letters.Length + 2);
        foreach (var c in letters)
        {
            if (c >= '\uFB1D' && CompatibilityForms.Find(c) is { } form)
                text.Append(form);
            else if (c is not ('\u0640' or '\uFEFF' or '\u200E' or '\u200F' or '\u00AD') && !char.IsControl(c))
                text.Append(c);
        }
        return text.ToString();
    }

    // Several letters that are drawn as one come in the order in which they are read.
    private static string ToVisual(string letters)
    {
        if (letters.Length < 2)
            return letters;
        var clusters = new List<string>();
        for (var elements = StringInfo.GetTextElementEnumerator(letters); elements.MoveNext(); )
            clusters.Insert(0, elements.GetTextElement());
        return string.Concat(clusters);
    }

    private static bool IsMark(char c) => CharUnicodeInfo.GetUnicodeCategory(c) == UnicodeCategory.NonSpacingMark;

    /// <summary>From top to bottom, then from left to right. Baselines are rounded, so that a row stays together.</summary>
    private sealed class RowOrder : IComparer<PdfWord>
    {
        public static readonly RowOrder Instance = new();

        public int Compare(PdfWord x, PdfWord y)
        {
            var rows = Math.Round(y.Baseline).CompareTo(Math.Round(x.Baseline));
            return rows != 0 ? rows : x.Left.CompareTo(y.Left);
        }
    }
}
