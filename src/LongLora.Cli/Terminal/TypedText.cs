using System.Globalization;

namespace LongLora.Cli.Terminal;

/// <summary>A text that is being typed, with a cursor in it. Its lines end with \n. The cursor never stands inside a character.</summary>
internal sealed class TypedText
{
    private string _cut = "";

    /// <summary>The text.</summary>
    internal string Text { get; private set; } = "";

    /// <summary>Index of the UTF-16 unit after the cursor.</summary>
    internal int Cursor { get; private set; }

    /// <summary>Replaces the whole text and puts the cursor at its end.</summary>
    internal void Set(string text) => (Text, Cursor) = (text, text.Length);

    /// <summary>Writes at the cursor.</summary>
    internal void Insert(string text)
    {
        Text = Text.Insert(Cursor, text);
        Cursor += text.Length;
    }

    internal void MoveLeft() => Cursor = FindLeft(Cursor);

    internal void MoveRight() => Cursor = FindRight(Cursor);

    internal void MoveToLineStart() => Cursor = FindLineStart(Cursor);

    internal void MoveToLineEnd() => Cursor = FindLineEnd(Cursor);

    internal void MoveWordLeft() => Cursor = FindWordLeft();

    internal void MoveWordRight()
    {
        while (Cursor < Text.Length && char.IsWhiteSpace(Text[Cursor]))
            MoveRight();
        while (Cursor < Text.Length && !char.IsWhiteSpace(Text[Cursor]))
            MoveRight();
    }

    /// <summary>Moves to the line above, as far from its start as now.</summary>
    /// <returns>False in the first line.</returns>
    internal bool MoveUp()
    {
        var start = FindLineStart(Cursor);
        if (start == 0)
            return false;
        MoveInto(FindLineStart(start - 1), Cursor - start);
        return true;
    }

    /// <summary>Moves to the line below, as far from its start as now.</summary>
    /// <returns>False in the last line.</returns>
    internal bool MoveDown()
    {
        var end = FindLineEnd(Cursor);
        if (end == Text.Length)
            return false;
        MoveInto(end + 1, Cursor - FindLineStart(Cursor));
        return true;
    }

    internal void DeleteLeft() => Delete(FindLeft(Cursor), Cursor);

    internal void DeleteRight() => Delete(Cursor, FindRight(Cursor));

    /// <summary>Cuts the word before the cursor, up to white space.</summary>
    internal void CutWordLeft() => Cut(FindWordLeft(), Cursor);

    /// <summary>Cuts from the start of the line to the cursor.</summary>
    internal void CutToLineStart() => Cut(FindLineStart(Cursor), Cursor);

    /// <summary>Cuts from the cursor to the end of the line.</summary>
    internal void CutToLineEnd() => Cut(Cursor, FindLineEnd(Cursor));

    /// <summary>Writes what was cut last.</summary>
    internal void InsertCut() => Insert(_cut);

    private void Cut(int from, int to)
    {
        if (from < to)
            _cut = Text[from..to];
        Delete(from, to);
    }

    private void Delete(int from, int to)
    {
        Text = Text.Remove(from, to - from);
        Cursor = from;
    }

    private void MoveInto(int start, int distance)
    {
        var wanted = Math.Min(start + distance, FindLineEnd(start));
        for (Cursor = start; Cursor < wanted; )
            Cursor = FindRight(Cursor);
    }

    private int FindLeft(int at) => StringInfo.ParseCombiningCharacters(Text).LastOrDefault(start => start < at);

    private int FindRight(int at) => at + StringInfo.GetNextTextElementLength(Text, at);

    private int FindLineStart(int at) => at == 0 ? 0 : Text.LastIndexOf('\n', at - 1) + 1;

    private int FindLineEnd(int at) => Text.IndexOf('\n', at) is >= 0 and var end ? end : Text.Length;

    private int FindWordLeft()
    {
        var at = Cursor;
        while (at > 0 && char.IsWhiteSpace(Text[at - 1]))
            at = FindLeft(at);
        while (at > 0 && !char.IsWhiteSpace(Text[at - 1]))
            at = FindLeft(at);
        return at;
    }
}
