using System.Text;

namespace LongLora.Cli;

/// <summary>Writes a text as it arrives and breaks its lines between words. A terminal would break them inside words.</summary>
/// <param name="output">Where to write.</param>
/// <param name="width">Columns per line.</param>
public sealed class WrappedText(TextWriter output, int width)
{
    private readonly StringBuilder _word = new();
    private int _column,
        _spaces; // columns of the line, and spaces that wait for the next word

    /// <summary>Writes the words that are complete so far.</summary>
    public void Write(string text)
    {
        foreach (var c in text)
        {
            if (char.IsWhiteSpace(c))
            {
                EndWord();
                AddSpace(c);
                continue;
            }
            if (IsWide(c))
                EndWord(); // in scripts without spaces a line may begin with any character
            _word.Append(c);
        }
    }

    /// <summary>Writes the last word and ends the line.</summary>
    public void End()
    {
        EndWord();
        EndLine();
    }

    private void AddSpace(char c)
    {
        if (c == '\n')
            EndLine();
        else if (c != '\r')
            _spaces += c == '\t' ? 4 : 1;
    }

    private void EndWord()
    {
        if (_word.Length == 0)
            return;
        var columns = 0;
        for (var i = 0; i < _word.Length; i++)
            columns += IsWide(_word[i]) ? 2 : 1;
        if (_column > 0 && _column + _spaces + columns > width)
            EndLine();
        output.Write(new string(' ', _spaces));
        output.Write(_word);
        _word.Clear();
        _column = (_column + _spaces + columns - 1) % width + 1; // the terminal breaks a word that is longer than a line
        _spaces = 0;
    }

    private void EndLine()
    {
        output.WriteLine();
        _column = _spaces = 0;
    }

    // Hangul, kana, CJK and full-width forms take two columns. So do both halves of most characters beyond 16 bits.
    private static bool IsWide(char c) =>
        c
            is (>= '\u1100' and <= '\u115F')
                or (>= '\u2E80' and <= '\uA4CF')
                or (>= '\uAC00' and <= '\uD7A3')
                or (>= '\uF900' and <= '\uFAFF')
                or (>= '\uFF00' and <= '\uFF60');
}
