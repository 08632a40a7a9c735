namespace LongLora.Tokenization;

/// <summary>Turns one word (or, for SentencePiece, a whole normalized text) into ids. Thread-safe.</summary>
internal interface ITokenModel
{
    /// <summary>Appends the ids of <paramref name="word"/>.</summary>
    void Encode(ReadOnlySpan<char> word, List<int> ids);
}
