using System.Runtime.InteropServices;

namespace LongLora.Tokenization;

/// <summary>
/// Turns ids into text as they arrive, for chat. A character that spans several tokens is held back until it is complete. All parts of the
/// text together equal <see cref="ITokenizer.Decode"/> for all ids. Use one decoder per stream, from one thread at a time.
/// </summary>
internal sealed class StreamingDecoder
{
    // A character spans at most four tokens. The rest of the window is for control tokens between them.
    private const int Window = 8;

    private readonly ITokenizer _tokenizer;
    private readonly bool _skipSpecial;
    private readonly List<int> _ids;
    private int _given;

    /// <summary>A decoder at the start of a stream.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="skipSpecial">Leaves out control tokens such as EOS.</param>
    /// <param name="context">
    /// Ids before the stream, such as the end of the prompt. Their text is not returned, but a space between it and the first word is.
    /// </param>
    public StreamingDecoder(ITokenizer tokenizer, bool skipSpecial = true, ReadOnlySpan<int> context = default)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        (_tokenizer, _skipSpecial, _ids) = (tokenizer, skipSpecial, [.. context]);
        _given = DecodeHeld().Length;
    }

    /// <summary>Adds the next id and returns the text that is now certain, which may be empty.</summary>
    /// <param name="id">A token id.</param>
    public string Append(int id)
    {
        _ids.Add(id);
        var text = DecodeHeld();
        // The first bytes of a character decode to one U+FFFD at the end.
        var complete = text.Length > 0 && text[^1] == '\uFFFD' ? text.Length - 1 : text.Length;
        if (complete < _given)
            return "";
        var fresh = text[_given..complete];
        _given = complete;
        if (_ids.Count >= 2 * Window)
            Shorten(text.Length - complete);
        return fresh;
    }

    /// <summary>Ends the stream and returns the text that was held back, with U+FFFD for an incomplete character.</summary>
    public string Finish()
    {
        var text = DecodeHeld();
        var rest = text[Math.Min(_given, text.Length)..];
        _ids.Clear();
        _given = 0;
        return rest;
    }

    private string DecodeHeld() => _tokenizer.Decode(CollectionsMarshal.AsSpan(_ids), _skipSpecial);

    /// <summary>
    /// Forgets all but the last tokens, if these are enough for the decoder to see that they are not the first. So every token costs the
    /// same, however long the stream is.
    /// </summary>
    private void Shorten(int held)
    {
        var last = _ids[^Window..];
        var shown = _tokenizer.Decode(CollectionsMarshal.AsSpan(last), _skipSpecial).Length;
        if (shown <= held)
            return;
        _ids.RemoveRange(0, _ids.Count - Window);
        _given = shown - held;
    }
}
