namespace LongLora.Tokenization;

/// <summary>Turns text into the token ids of one model and back.</summary>
public interface ITokenizer
{
    /// <summary>Number of token ids, added tokens included: every id is below it.</summary>
    int VocabularySize { get; }

    /// <summary>Id of the token that begins a text, or null where the model has none.</summary>
    int? BosTokenId { get; }

    /// <summary>Id of the token that ends a text, or null where the model has none.</summary>
    int? EosTokenId { get; }

    /// <summary>Id of the padding token, or null where the model has none.</summary>
    int? PadTokenId { get; }

    /// <summary>
    /// The ids of <paramref name="text"/>. Special tokens written in the text are ordinary text unless <paramref name="parseSpecial"/>.
    /// </summary>
    /// <param name="text">Any text, the empty one included.</param>
    /// <param name="addSpecial">Adds what the model's own tokenizer adds around a text: usually BOS in front.</param>
    /// <param name="parseSpecial">
    /// Recognises special tokens such as <c>&lt;/s&gt;</c> in the text; only for text that the program itself wrote.
    /// </param>
    IReadOnlyList<int> Encode(ReadOnlySpan<char> text, bool addSpecial = false, bool parseSpecial = false);

    /// <summary>The text of <paramref name="ids"/>; bytes that are not valid UTF-8 become U+FFFD.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="skipSpecial">Leaves out control tokens such as BOS.</param>
    string Decode(ReadOnlySpan<int> ids, bool skipSpecial = true);

    /// <summary>The id of a token by its written form, such as <c>[PAD]</c>, or null.</summary>
    int? FindToken(string token);
}
