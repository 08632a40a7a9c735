using LongLora.Checkpoints;
using LongLora.Tokenization;

namespace LongLora.Export;

/// <summary>
/// Whether engines make the tokens of a GGUF file's own model: texts of many kinds, tokenized by the model's tokenizer and as engines do
/// it. Rules that GGUF cannot say, or that engines do not follow, show here as a difference.
/// </summary>
internal static class GgufTokenSameness
{
    private static readonly (string Kind, string Text)[] s_texts =
    [
        ("several spaces in a row (remove_extra_whitespaces)", "a  b   c"),
        ("spaces at the start of a text (remove_extra_whitespaces)", "  a b"),
        ("spaces at the end of a text (remove_extra_whitespaces)", "a b  "),
        ("the start of a text (add_prefix_space)", "once upon"),
        ("letters with their accents apart (NFC)", "cafe\u0301 A\u030a"),
        ("full-width letters and ligatures (NFKC or a character map)", "\uff41\uff42 \ufb01 \u2460"),
        ("capital letters (lower case)", "Once UPON"),
        ("tabs and line ends", "a\tb\r\nc\n"),
        ("characters without a token (byte_fallback)", "a\uE0F3b"),
    ];

    /// <summary>The kinds of text of which engines make other tokens; none for a file without a tokenizer.</summary>
    /// <param name="tokenizer">The model's own.</param>
    /// <param name="file">The file that was made of it.</param>
    public static IReadOnlyList<string> FindDifferences(ITokenizer tokenizer, GgufReader file)
    {
        if (GgufVocabulary.Read(file)?.ForEngines() is not { } vocabulary)
            return [];
        var engines = GgufTokenizerReader.Build(vocabulary);
        bool Differs(string text) => !tokenizer.Encode(text, parseSpecial: true).SequenceEqual(engines.Encode(text, parseSpecial: true));
        var kinds = s_texts.Where(t => Differs(t.Text)).Select(t => t.Kind).ToList();
        if (tokenizer.EosTokenId is { } end && Differs(TokenText.Write(tokenizer, end) + "once"))
            kinds.Add("text behind a special token (legacy)");
        // Engines look for bytes there, and have no other way.
        if (vocabulary.Model == "llama" && !vocabulary.Kinds.Contains(PieceKind.Byte))
            kinds.Add("characters without a token, at which engines fail (byte_fallback)");
        return kinds;
    }
}
