using System.Text;
using LongLora.Cli.Terminal;

namespace LongLora.Cli.Tests;

public class LineEditorTests
{
    // ^X is Ctrl-X, !X is Alt-X, < > { } are the arrows left, right, up and down, [ ] are Home and End. \u0001 switches between keys that
    // are
    // typed and keys that arrive at once.
    private sealed class Typed(string script) : IKeys
    {
        private int _at;
        private bool _isFast;

        public bool HasMore => _isFast && _at < script.Length && script[_at] != '\u0001';

        public ConsoleKeyInfo Read(CancellationToken cancellation)
        {
            if (_at == script.Length)
                throw new OperationCanceledException();
            var c = script[_at++];
            if (c == '\u0001')
            {
                _isFast = !_isFast;
                return Read(cancellation);
            }
            if (_isFast)
                return c switch
                {
                    '\e' => new(c, ConsoleKey.Escape, false, false, false),
                    '\r' or '\n' => new('\r', ConsoleKey.Enter, false, false, false),
                    _ => new(c, 0, false, false, false),
                };
            return c switch
            {
                '^' => Control(script[_at++]),
                '!' => Alt(script[_at++]),
                '<' => new('\0', ConsoleKey.LeftArrow, false, false, false),
                '>' => new('\0', ConsoleKey.RightArrow, false, false, false),
                '{' => new('\0', ConsoleKey.UpArrow, false, false, false),
                '}' => new('\0', ConsoleKey.DownArrow, false, false, false),
                '[' => new('\0', ConsoleKey.Home, false, false, false),
                ']' => new('\0', ConsoleKey.End, false, false, false),
                '\b' => new('\b', ConsoleKey.Backspace, false, false, false),
                '\n' => new('\r', ConsoleKey.Enter, false, false, false),
                _ => new(c, 0, false, false, false),
            };
        }

        private static ConsoleKeyInfo Control(char c) => new((char)(c & 31), Enum.Parse<ConsoleKey>($"{c}"), false, false, true);

        private static ConsoleKeyInfo Alt(char c) =>
            c == '\n' ? new('\r', ConsoleKey.Enter, false, true, false) : new(c, Enum.Parse<ConsoleKey>($"{c}"), false, true, false);
    }

    private static List<string?> ReadAll(string script, TextWriter? output = null)
    {
        var editor = new LineEditor(new Typed(script), output ?? TextWriter.Null, () => (40, 10));
        List<string?> read = [];
        try
        {
            while (read is not [.., null])
                read.Add(editor.Read(default));
        }
        catch (OperationCanceledException) { }
        return read;
    }

    [Theory]
    [InlineData("hello\n", "hello")]
    [InlineData("helo<l\n", "hello")]
    [InlineData("b[a]c\n", "abc")]
    [InlineData("b^Aa^Ec\n", "abc")]
    [InlineData("one two three^W^Wfour\n", "one four")]
    [InlineData("one two^Uthree\n", "three")]
    [InlineData("one two!B^Kthree\n", "one three")]
    [InlineData("one two!B!B!Fx\n", "onex two")]
    [InlineData("one two^W^A^Y \n", "two one ")]
    [InlineData("abc<<^D\n", "ac")]
    [InlineData("e\u0301x<<\b>y\n", "e\u0301yx")]
    [InlineData("e\u0301x<\by\n", "yx")]
    [InlineData("😀x<\b\n", "x")]
    [InlineData("ab!\ncd{[x\n", "xab\ncd")]
    [InlineData("ab!\ncd{}]x\n", "ab\ncdx")]
    public void Keys_do_what_they_do_in_a_shell(string script, string message) => Assert.Equal([message], ReadAll(script));

    [Fact]
    public void Arrows_bring_messages_back_and_keep_what_was_begun() =>
        Assert.Equal(["first", "second", "first?", "draft"], ReadAll("first\nsecond\n{{?\ndra{{}}ft\n"));

    [Fact]
    public void Control_D_leaves_an_empty_line_only()
    {
        Assert.Equal(["a", null], ReadAll("ab<^D\n^D"));
        Assert.Equal([null], ReadAll("^D"));
    }

    [Theory]
    [InlineData("see \u0001\e[200~line one\rline two\r\e[201~\u0001!\nthanks\n", "see line one\nline two\n\nthanks")]
    [InlineData("\u0001line one\rline two\u0001\n", "line one\nline two")]
    [InlineData("a\u0001\e[200~^A\t{\e[201~\u0001b\n", "a^A\t{b")]
    public void A_paste_is_one_message(string script, string message) => Assert.Equal([message], ReadAll(script));

    [Fact]
    public void Arrange_breaks_rows_before_the_last_column_and_finds_the_cursor()
    {
        var (rows, row, column) = LineEditor.Arrange("abcdefgh", 8, 10);
        Assert.Equal(["> abcdefg", "  h"], rows);
        Assert.Equal((1, 3), (row, column));
        (rows, row, column) = LineEditor.Arrange("漢字漢字", 3, 9);
        Assert.Equal(["> 漢字漢", "  字"], rows);
        Assert.Equal((1, 2), (row, column));
        (rows, row, column) = LineEditor.Arrange("a\n\nb", 2, 10);
        Assert.Equal(["> a", "  ", "  b"], rows);
        Assert.Equal((1, 2), (row, column));
    }

    // A terminal that knows just the sequences that the editor writes.
    [Theory]
    [InlineData("hello wörld, this is longer than a row of forty columns<<<<<x^Ay")]
    [InlineData("ab!\ncdefgh{^Aq")]
    [InlineData("one two three four five six seven eight nine ten eleven twelve^Uz")]
    public void The_screen_shows_the_text_with_the_cursor_in_it(string script)
    {
        using var written = new StringWriter();
        ReadAll(script, written);
        List<StringBuilder> screen = [new()];
        var (row, column) = (0, 0);
        var text = written.ToString();
        for (var i = 0; i < text.Length; i++)
        {
            if (text[i] == '\r')
                column = 0;
            else if (text[i] == '\n')
            {
                row++;
                if (row == screen.Count)
                    screen.Add(new());
            }
            else if (text[i] == '\e')
            {
                var end = i + 1;
                while (!char.IsLetter(text[end]))
                    end++;
                var number = int.TryParse(text[(i + 2)..end], out var n) ? n : 0;
                if (text[end] == 'A')
                    row -= number;
                else if (text[end] == 'C')
                    column += number;
                else if (text[end] == 'J')
                {
                    screen.RemoveRange(row + 1, screen.Count - row - 1);
                    screen[row].Length = Math.Min(screen[row].Length, column);
                }
                i = end;
            }
            else
            {
                if (screen[row].Length <= column)
                    screen[row].Append(' ', column - screen[row].Length + 1);
                screen[row][column++] = text[i];
            }
        }
        var typed =
            script.EndsWith('y') ? "yhello wörld, this is longer than a row of forty coxlumns"
            : script.EndsWith('q') ? "qab\ncdefgh"
            : "z";
        var (rows, wantedRow, wantedColumn) = LineEditor.Arrange(typed, 1, 40);
        Assert.Equal(rows, screen.Select(r => r.ToString()));
        Assert.Equal((wantedRow, wantedColumn), (row, column));
    }
}
