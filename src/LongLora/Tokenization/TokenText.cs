using System.Text;
using System.Text.Unicode;

namespace LongLora.Tokenization;

/// <summary>
/// What a token stands for by itself. <see cref="ITokenizer.Decode"/> cannot tell it: where a tokenizer writes a space before every text,
/// decoding takes it from the first token again, and every token alone is the first.
/// </summary>
internal static class TokenText
{
    /// <summary>
    /// The bytes of a token. Those of all tokens of a text, joined, are the text in UTF-8, except that the text may lack a space that they
    /// begin with.
    /// </summary>
    internal static byte[] GetBytes(ITokenizer tokenizer, int id) =>
        tokenizer is TextTokenizer known
            ? known.GetBytes(id).ToArray()
            : Encoding.UTF8.GetBytes(tokenizer.Decode([id], skipSpecial: false));

    /// <summary>
    /// Those bytes as text. A part of a character is written as OpenAI does, such as <c>bytes:\xf0\x9f</c>, so that different tokens
    /// stay different.
    /// </summary>
    internal static string Write(ITokenizer tokenizer, int id)
    {
        var bytes = GetBytes(tokenizer, id);
        return Utf8.IsValid(bytes) ? Encoding.UTF8.GetString(bytes) : "bytes:" + string.Concat(bytes.Select(b => $"\\x{b:x2}"));
    }

    /// <summary>Whether it is a control token, such as BOS.</summary>
    internal static bool IsControl(ITokenizer tokenizer, int id) =>
        tokenizer is TextTokenizer known
            ? known.IsSpecial(id)
            : tokenizer.Decode([id]).Length == 0 && tokenizer.Decode([id], skipSpecial: false).Length > 0;
}
