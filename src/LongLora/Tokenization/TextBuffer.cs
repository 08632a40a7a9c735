namespace LongLora.Tokenization;

/// <summary>A growing text in a rented array, so that a book of several megabytes creates no garbage. Not thread-safe.</summary>
internal sealed class TextBuffer : IDisposable
{
    private char[] _characters = [];

    /// <summary>Characters (UTF-16 units) written so far.</summary>
    public int Length { get; private set; }

    /// <summary>The text written so far. It is valid until the next write.</summary>
    public ReadOnlySpan<char> Text => _characters.AsSpan(0, Length);

    /// <summary>The character at a position.</summary>
    public char this[int index] => _characters[index];

    /// <summary>Adds room for <paramref name="length"/> characters at the end, which count as written.</summary>
    public Span<char> Extend(int length)
    {
        if (Length + length > _characters.Length)
            Grow(Length + length);
        Length += length;
        return _characters.AsSpan(Length - length, length);
    }

    /// <summary>Writes one character.</summary>
    public void Append(char character) => Extend(1)[0] = character;

    /// <summary>Writes a text.</summary>
    public void Append(ReadOnlySpan<char> text) => text.CopyTo(Extend(text.Length));

    /// <summary>Removes everything from <paramref name="length"/> on.</summary>
    public void Truncate(int length) => Length = length;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_characters.Length > 0)
            ScratchArray.Return(_characters);
        _characters = [];
        Length = 0;
    }

    private void Grow(int needed)
    {
        var larger = ScratchArray.Rent<char>(Math.Max(needed, Math.Min(2 * _characters.Length, Array.MaxLength)));
        Text.CopyTo(larger);
        if (_characters.Length > 0)
            ScratchArray.Return(_characters);
        _characters = larger;
    }
}
