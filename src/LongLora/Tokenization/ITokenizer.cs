namespace LongLora.Tokenization;

/// <summary>Converts text to the token ids of a model and back.</summary>
public interface ITokenizer
{
    /// <summary>Number of token ids, including added tokens. Every id is below it.</summary>
    int VocabularySize { get; }

    /// <summary>Id of the token that begins a text; null if the model has none.</summary>
    int? BosTokenId { get; }

    /// <summary>Id of the token that ends a text; null if the model has none.</summary>
    int? EosTokenId { get; }

    /// <summary>Id of the padding token; null if the model has none.</summary>
    int? PadTokenId { get; }

    /// <summary>
    /// The ids of <paramref name="text"/>. Special tokens in the text are treated as ordinary text unless <paramref name="parseSpecial"/>
    /// is true.
    /// </summary>
    /// <param name="text">Any text, including the empty one.</param>
    /// <param name="addSpecial">Adds what the model's own tokenizer adds around a text, usually BOS at the start.</param>
    /// <param name="parseSpecial">
    /// Recognizes special tokens such as <c>&lt;/s&gt;</c> in the text. Use it only for text that the program itself wrote.
    /// </param>
    IReadOnlyList<int> Encode(ReadOnlySpan<char> text, bool addSpecial = false, bool parseSpecial = false);

    /// <summary>The text of <paramref name="ids"/>. Bytes that are not valid UTF-8 become U+FFFD.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="skipSpecial">Leaves out control tokens such as BOS.</param>
    string Decode(ReadOnlySpan<int> ids, bool skipSpecial = true);

    /// <summary>The id of the token with this text, such as <c>[PAD]</c>, or null.</summary>
    int? FindToken(string token);
}
