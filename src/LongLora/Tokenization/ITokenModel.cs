namespace LongLora.Tokenization;

/// <summary>Turns one word (or, for SentencePiece, a whole normalised text) into ids. Several threads may use one at once.</summary>
internal interface ITokenModel
{
    /// <summary>Appends the ids of <paramref name="word"/>.</summary>
    void Encode(ReadOnlySpan<char> word, List<int> ids);
}
