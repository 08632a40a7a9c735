using LongLora.Tokenization;

namespace LongLora.Server;

/// <summary>Where the text of each token begins in the text of all, in characters.</summary>
/// <param name="tokenizer">Decodes them.</param>
/// <param name="before">Tokens before the first, on which its text may depend.</param>
internal sealed class TokenOffsets(ITokenizer tokenizer, IReadOnlyList<int> before)
{
    // Special tokens, such as the one that begins a text, have no text.
    private readonly StreamingDecoder _decoder = new(tokenizer, true, [.. before]);
    private int _offset;

    /// <summary>The offset of the next token.</summary>
    internal int Take(int token)
    {
        var offset = _offset;
        _offset += _decoder.Append(token).Length;
        return offset;
    }
}
