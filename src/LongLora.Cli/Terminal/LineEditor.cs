using System.Globalization;
using System.Text;
using Spectre.Console.Rendering;

namespace LongLora.Cli.Terminal;

/// <summary>
/// Reads messages in a terminal with the keys that people know from shells. Enter sends a message, Alt-Enter begins a new line in it, and
/// what is pasted stays one message.
/// </summary>
/// <param name="keys">The keys.</param>
/// <param name="output">The terminal, which must understand ANSI sequences.</param>
/// <param name="getSize">Columns and rows of the terminal now.</param>
internal sealed class LineEditor(IKeys keys, TextWriter output, Func<(int Width, int Height)> getSize)
{
    private const string Prompt = "> ",
        Continuation = "  ",
        PasteBegins = "[200~",
        PasteEnds = "[201~";

    private readonly TypedText _typed = new();
    private readonly List<string> _history = [];
    private int _place, // in the history; its end is the message that is being typed
        _row; // of the cursor, counted from the first row that is drawn
    private string _draft = "";

    /// <summary>Reads one message.</summary>
    /// <returns>The message; null if the user leaves with Ctrl-D.</returns>
    /// <exception cref="OperationCanceledException">The wait was canceled.</exception>
    internal string? Read(CancellationToken cancellation)
    {
        _typed.Set("");
        (_place, _draft, _row) = (_history.Count, "", 0);
        output.Write("\e[?2004h"); // the terminal marks what is pasted
        try
        {
            while (true)
            {
                if (!keys.HasMore) // the last one draws
                    Draw();
                var key = keys.Read(cancellation);
                if (key.Key == ConsoleKey.Escape && keys.HasMore)
                {
                    Paste(cancellation);
                    continue;
                }
                // A terminal that does not mark a paste sends its lines faster than anyone types.
                if (key.Key == ConsoleKey.Enter && key.Modifiers == 0 && !keys.HasMore)
                    return Finish(_typed.Text);
                if (key is { Key: ConsoleKey.D, Modifiers: ConsoleModifiers.Control } && _typed.Text.Length == 0)
                    return Finish(null);
                Press(key);
            }
        }
        finally
        {
            output.Write("\e[?2004l");
            output.Flush();
        }
    }

    private string? Finish(string? text)
    {
        _typed.Set(_typed.Text);
        Draw();
        output.WriteLine();
        if (text is { Length: > 0 } && text != _history.LastOrDefault())
            _history.Add(text);
        return text;
    }

    private void Press(ConsoleKeyInfo key)
    {
        switch (key.Modifiers, key.Key)
        {
            case (ConsoleModifiers.Control, ConsoleKey.A) or (_, ConsoleKey.Home):
                _typed.MoveToLineStart();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.E) or (_, ConsoleKey.End):
                _typed.MoveToLineEnd();
                break;
            case (ConsoleModifiers.Control or ConsoleModifiers.Alt, ConsoleKey.LeftArrow) or (ConsoleModifiers.Alt, ConsoleKey.B):
                _typed.MoveWordLeft();
                break;
            case (ConsoleModifiers.Control or ConsoleModifiers.Alt, ConsoleKey.RightArrow) or (ConsoleModifiers.Alt, ConsoleKey.F):
                _typed.MoveWordRight();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.B) or (_, ConsoleKey.LeftArrow):
                _typed.MoveLeft();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.F) or (_, ConsoleKey.RightArrow):
                _typed.MoveRight();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.P) or (_, ConsoleKey.UpArrow):
                if (!_typed.MoveUp())
                    Recall(_place - 1);
                break;
            case (ConsoleModifiers.Control, ConsoleKey.N) or (_, ConsoleKey.DownArrow):
                if (!_typed.MoveDown())
                    Recall(_place + 1);
                break;
            case (ConsoleModifiers.Control, ConsoleKey.W) or (ConsoleModifiers.Control or ConsoleModifiers.Alt, ConsoleKey.Backspace):
                _typed.CutWordLeft();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.U):
                _typed.CutToLineStart();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.K):
                _typed.CutToLineEnd();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.Y):
                _typed.InsertCut();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.H) or (_, ConsoleKey.Backspace):
                _typed.DeleteLeft();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.D) or (_, ConsoleKey.Delete):
                _typed.DeleteRight();
                break;
            case (ConsoleModifiers.Control, ConsoleKey.L):
                output.Write("\e[2J\e[H");
                _row = 0;
                break;
            case (_, ConsoleKey.Enter) or (ConsoleModifiers.Control, ConsoleKey.J):
                _typed.Insert("\n");
                break;
            default:
                if (!char.IsControl(key.KeyChar))
                    _typed.Insert(key.KeyChar.ToString());
                break;
        }
    }

    // Between the marks of a paste every key is text. Other sequences that begin with Escape are keys that nothing is bound to.
    private void Paste(CancellationToken cancellation)
    {
        if (!Follows(PasteBegins, cancellation))
            return;
        var text = new StringBuilder();
        while (!EndsWith(text, '\e' + PasteEnds))
            text.Append(keys.Read(cancellation).KeyChar);
        text.Length -= PasteEnds.Length + 1;
        _typed.Insert(text.Replace("\r\n", "\n").Replace('\r', '\n').ToString());
    }

    private static bool EndsWith(StringBuilder text, string end) =>
        text.Length >= end.Length && text.ToString(text.Length - end.Length, end.Length) == end;

    private bool Follows(string sequence, CancellationToken cancellation)
    {
        foreach (var c in sequence)
        {
            if (!keys.HasMore || keys.Read(cancellation).KeyChar != c)
                return false;
        }
        return true;
    }

    private void Recall(int place)
    {
        if (place < 0 || place > _history.Count)
            return;
        if (_place == _history.Count)
            _draft = _typed.Text;
        _place = place;
        _typed.Set(place == _history.Count ? _draft : _history[place]);
    }

    // Draws everything again: back to the first row, clear what is below, write, go to the cursor. The last column stays empty, because
    // terminals differ in where the cursor is after it.
    private void Draw()
    {
        var (width, height) = getSize();
        var (rows, row, column) = Arrange(_typed.Text, _typed.Cursor, Math.Max(width, 8));
        // Of a text that is higher than the terminal, the rows around the cursor are shown.
        var shown = Math.Max(1, height - 1);
        var first = Math.Clamp(row - shown + 1, 0, Math.Max(0, rows.Count - shown));
        rows = [.. rows.Skip(first).Take(shown)];
        if (first == 0)
            rows[0] = $"\e[1;32m{Prompt.TrimEnd()}\e[0m{rows[0][1..]}";
        var text = new StringBuilder();
        if (_row > 0)
            text.Append(CultureInfo.InvariantCulture, $"\e[{_row}A");
        text.Append("\r\e[J").AppendJoin("\r\n", rows);
        _row = row - first;
        if (rows.Count - 1 > _row)
            text.Append(CultureInfo.InvariantCulture, $"\e[{rows.Count - 1 - _row}A");
        text.Append(CultureInfo.InvariantCulture, $"\r\e[{column}C");
        output.Write(text);
        output.Flush();
    }

    /// <summary>Breaks a text into rows of a terminal.</summary>
    /// <returns>The rows with their prompts, and the row and the column of the cursor.</returns>
    internal static (List<string> Rows, int Row, int Column) Arrange(string text, int cursor, int width)
    {
        List<string> rows = [];
        var (row, column, here) = (0, 0, new StringBuilder(Prompt));
        var used = Prompt.Length;
        void EndRow()
        {
            rows.Add(here.ToString());
            here.Clear().Append(Continuation);
            used = Continuation.Length;
        }
        for (var i = 0; ; )
        {
            var length = i < text.Length ? StringInfo.GetNextTextElementLength(text, i) : 0;
            var element = text.Substring(i, length);
            var isEnd = element is "\n" or "\r\n";
            var shown = isEnd ? "" : string.Concat(element.Select(c => char.IsControl(c) ? ' ' : c));
            var columns = shown.Length == 0 ? 0 : new Segment(shown).CellCount();
            if (used + Math.Max(columns, 1) > width - 1)
                EndRow();
            if (i == cursor)
                (row, column) = (rows.Count, used);
            if (length == 0)
                break;
            here.Append(shown);
            used += columns;
            if (isEnd)
                EndRow();
            i += length;
        }
        rows.Add(here.ToString());
        return (rows, row, column);
    }
}
