using System.Runtime.InteropServices;

namespace LongLora.Documents.Workers;

/// <summary>The text of one document, as it comes from a worker.</summary>
internal sealed class WorkerText(WorkerReading reading) : TextReader
{
    private ReadOnlyMemory<byte> _piece;
    private bool _isAtEnd;

    /// <inheritdoc/>
    public override int Peek() => Fill() ? MemoryMarshal.Cast<byte, char>(_piece.Span)[0] : -1;

    /// <inheritdoc/>
    public override int Read()
    {
        Span<char> one = stackalloc char[1];
        return Read(one) == 0 ? -1 : one[0];
    }

    /// <inheritdoc/>
    public override int Read(Span<char> buffer)
    {
        if (buffer.Length == 0 || !Fill())
            return 0;
        var text = MemoryMarshal.Cast<byte, char>(_piece.Span);
        var count = Math.Min(text.Length, buffer.Length);
        text[..count].CopyTo(buffer);
        _piece = _piece[(2 * count)..];
        return count;
    }

    /// <inheritdoc/>
    public override int Read(char[] buffer, int index, int count) => Read(buffer.AsSpan(index, count));

    private bool Fill()
    {
        while (_piece.Length == 0 && !_isAtEnd)
        {
            _piece = reading.ReceiveText();
            _isAtEnd = _piece.Length == 0;
        }
        return _piece.Length > 0;
    }
}
