using System.Runtime.InteropServices;

namespace LongLora.Tokenization;

/// <summary>
/// Turns ids into text as they come, for chat: a character that spans several tokens is held back until it is whole. All pieces of text
/// together are what <see cref="ITokenizer.Decode"/> gives for all ids. For one stream, and one thread at a time.
/// </summary>
public sealed class StreamingDecoder
{
    // A character spans at most four tokens; the rest of the window is for control tokens between them.
    private const int Window = 8;

    private readonly ITokenizer _tokenizer;
    private readonly bool _skipSpecial;
    private readonly List<int> _ids;
    private int _given;

    /// <summary>A decoder at the beginning of a stream.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="skipSpecial">Leaves out control tokens such as EOS.</param>
    /// <param name="context">
    /// Ids that the stream goes on from, such as the end of the prompt: their text is not given out, but a space between it and the first
    /// word is.
    /// </param>
    public StreamingDecoder(ITokenizer tokenizer, bool skipSpecial = true, ReadOnlySpan<int> context = default)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        (_tokenizer, _skipSpecial, _ids) = (tokenizer, skipSpecial, [.. context]);
        _given = DecodeHeld().Length;
    }

    /// <summary>Takes the next id and returns the text that is now certain, which may be empty.</summary>
    /// <param name="id">A token id.</param>
    public string Append(int id)
    {
        _ids.Add(id);
        var text = DecodeHeld();
        // The beginning of a character decodes to one U+FFFD at the end.
        var complete = text.Length > 0 && text[^1] == '\uFFFD' ? text.Length - 1 : text.Length;
        if (complete < _given)
            return "";
        var fresh = text[_given..complete];
        _given = complete;
        if (_ids.Count >= 2 * Window)
            Shorten(text.Length - complete);
        return fresh;
    }

    /// <summary>Ends the stream: returns what was held back, U+FFFD where a character stayed incomplete.</summary>
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
    /// Forgets all but the last tokens, if these tell the decoder that they are not the first: so a stream of any length costs the same a
    /// token.
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
