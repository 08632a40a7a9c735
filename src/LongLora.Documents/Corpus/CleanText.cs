namespace LongLora.Documents.Corpus;

/// <summary>
/// Cleans a text while it is read, removing what no model should learn. Line ends become <c>\n</c>, blanks before them are removed, and
/// there are at most two empty lines in a row and none at the ends. Control characters and invisible marks (byte order marks, zero-width
/// spaces, soft hyphens) are removed, and no-break spaces become spaces. Everything else stays the same, including indentation.
/// </summary>
/// <param name="text">The text. It is read once.</param>
/// <param name="asItIs">Whether to change nothing.</param>
internal sealed class CleanText(TextReader text, bool asItIs = false) : TextReader
{
    private const int MostLineEnds = 3,
        LongestBlank = 1024;
    private const char Unknown = '\uFFFD';

    private readonly char[] _read = new char[1 << 14];
    private readonly char[] _clean = new char[(1 << 14) + LongestBlank + 8];
    private readonly List<char> _blanks = [];
    private int _start,
        _end,
        _lineEnds;
    private bool _begun,
        _afterReturn;
    private char _high;

    /// <summary>Number of characters returned so far.</summary>
    public long Count { get; private set; }

    /// <summary>Whether nothing is left. Reads as much as needed to find out.</summary>
    public bool IsAtEnd => !Fill();

    /// <inheritdoc/>
    public override int Read(Span<char> buffer)
    {
        if (buffer.IsEmpty || !Fill())
            return 0;
        var count = Math.Min(buffer.Length, _end - _start);
        // Does not split a surrogate pair.
        if (count < _end - _start && char.IsHighSurrogate(_clean[_start + count - 1]) && count > 1)
            count--;
        _clean.AsSpan(_start, count).CopyTo(buffer);
        _start += count;
        Count += count;
        return count;
    }

    /// <inheritdoc/>
    public override int Read(char[] buffer, int index, int count) => Read(buffer.AsSpan(index, count));

    /// <inheritdoc/>
    public override int Peek() => Fill() ? _clean[_start] : -1;

    /// <inheritdoc/>
    public override int Read()
    {
        Span<char> one = stackalloc char[1];
        return Read(one) == 1 ? one[0] : -1;
    }

    private bool Fill()
    {
        while (_start == _end)
        {
            var count = text.Read(_read.AsSpan());
            (_start, _end) = (0, 0);
            if (count == 0 && _high == 0)
                return false;
            if (count == 0)
            {
                _high = '\0';
                AppendVisible(Unknown);
            }
            foreach (var c in _read.AsSpan(0, count))
                Take(c);
        }
        return true;
    }

    private void Take(char c)
    {
        if (_high != 0)
        {
            var high = _high;
            _high = '\0';
            if (char.IsLowSurrogate(c))
            {
                AppendVisible(high);
                Append(c);
                return;
            }
            AppendVisible(Unknown);
        }
        if (char.IsHighSurrogate(c))
            _high = c;
        else if (asItIs)
            Append(char.IsLowSurrogate(c) ? Unknown : c);
        else
            Clean(char.IsLowSurrogate(c) ? Unknown : c);
    }

    private void Clean(char c)
    {
        var followsReturn = _afterReturn;
        _afterReturn = c == '\r';
        if (c is '\r' or '\n' or '\u2028' or '\u2029' or '\u0085' or '\f')
        {
            if (!(c == '\n' && followsReturn))
                _lineEnds++;
            _blanks.Clear();
        }
        else if (c is ' ' or '\t' or '\u00A0')
        {
            if (_blanks.Count < LongestBlank)
                _blanks.Add(c == '\u00A0' ? ' ' : c);
        }
        else if (!IsInvisible(c))
            AppendVisible(c);
    }

    private void AppendVisible(char c)
    {
        if (!asItIs)
        {
            for (var i = 0; i < Math.Min(_lineEnds, MostLineEnds) && _begun; i++)
                _clean[_end++] = '\n';
            // The first line keeps its indentation, because it may be code.
            foreach (var blank in _blanks)
                Append(blank);
            _blanks.Clear();
            (_lineEnds, _begun) = (0, true);
        }
        Append(c);
    }

    // The output is never longer than the input, except for what waits from the previous block.
    private void Append(char c) => _clean[_end++] = c;

    private static bool IsInvisible(char c) =>
        c is < ' ' or '\u007F' or '\uFEFF' or '\u200B' or '\u2060' or '\u00AD' || (c is >= '\u0080' and <= '\u009F');
}
