using System.Text;

namespace LongLora.Documents;

/// <summary>
/// Joins running text and blocks to plain text similar to Markdown: one line per paragraph, an empty line between blocks, and lists with
/// one line per item. White space inside a paragraph is collapsed.
/// </summary>
internal sealed class BlockText
{
    private readonly StringBuilder _text = new();
    private bool _space;
    private int _lineEnds = 2;
    private string _mark = "";

    /// <summary>Adds running text. Line ends in it become spaces.</summary>
    public void AddInline(ReadOnlySpan<char> text)
    {
        foreach (var c in text)
        {
            if (char.IsWhiteSpace(c))
            {
                _space = true;
                continue;
            }
            BeginLine();
            if (_space && _lineEnds == 0)
                _text.Append(' ');
            _text.Append(c);
            (_space, _lineEnds) = (false, 0);
        }
    }

    /// <summary>Adds lines without changes.</summary>
    public void AddVerbatim(string text)
    {
        EndBlock();
        foreach (var line in text.ReplaceLineEndings("\n").Trim('\n').Split('\n'))
        {
            BeginLine();
            _text.Append(line.TrimEnd());
            _lineEnds = 0;
            EndLine(1);
        }
        EndBlock();
    }

    /// <summary>Ends the current line, if there is one.</summary>
    public void EndLine() => EndLine(1);

    /// <summary>Ends the block: an empty line follows.</summary>
    public void EndBlock() => EndLine(2);

    /// <summary>Sets what the next line starts with, such as <c># </c> or <c>- </c>.</summary>
    public void SetMark(string mark) => _mark = mark;

    /// <summary>The whole text, without empty lines at its ends.</summary>
    public override string ToString() => _text.ToString().Trim('\n');

    private void BeginLine()
    {
        if (_mark.Length > 0)
            _text.Append(_mark);
        _mark = "";
    }

    private void EndLine(int lineEnds)
    {
        for (; _lineEnds < lineEnds; _lineEnds++)
            _text.Append('\n');
        (_space, _mark) = (false, "");
    }
}
