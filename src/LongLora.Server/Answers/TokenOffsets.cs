using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Where the text of each token begins in the text of all, in Unicode's characters, as Python counts them.</summary>
/// <param name="tokenizer">Decodes them.</param>
/// <param name="before">Tokens before the first, on which its text may depend.</param>
/// <param name="echo">The prompt's text, if it begins the text of all; else empty.</param>
internal sealed class TokenOffsets(ITokenizer tokenizer, IReadOnlyList<int> before, string echo)
{
    private readonly StreamingDecoder _decoder = new(tokenizer, true, [.. before]);
    private int _offset,
        _units; // of UTF-16

    /// <summary>The offset of the next token.</summary>
    internal int Take(int token)
    {
        var offset = _offset;
        var text = _decoder.Append(token);
        // A special token has no text, unless the prompt has it as text.
        if (TokenText.IsControl(tokenizer, token) && TokenText.Write(tokenizer, token) is var name && IsEchoed(name))
            text += name;
        _units += text.Length;
        _offset += text.EnumerateRunes().Count();
        return offset;
    }

    private bool IsEchoed(string text) => string.CompareOrdinal(echo, _units, text, 0, text.Length) == 0;
}
