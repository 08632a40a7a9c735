using System.Runtime.InteropServices;

namespace LongLora.Tokenization;

/// <summary>Turns one word (or, for SentencePiece, a whole normalised text) into ids. Several threads may use one at once.</summary>
internal interface ITokenModel
{
    /// <summary>Appends the ids of <paramref name="word"/>.</summary>
    void Encode(ReadOnlySpan<char> word, List<int> ids);
}

/// <summary>A model that takes a whole text, cuts it where that is safe, and remembers the words that it has met.</summary>
/// <param name="boundary">Where texts may be cut.</param>
/// <param name="unknown">What stands for a character without a token.</param>
internal abstract class WordwiseModel(WordBoundary boundary, UnknownCharacters unknown) : ITokenModel
{
    private readonly WordCache _cache = new();

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        List<int>? scratch = null;
        var first = ids.Count;
        for (int start = 0, end; start < word.Length; start = end)
        {
            end = boundary.Next(word, start);
            var part = word[start..end];
            if (!_cache.TryGet(part, out var known))
            {
                scratch ??= [];
                scratch.Clear();
                EncodePart(part, unknown, scratch);
                known = CollectionsMarshal.AsSpan(scratch);
                _cache.Add(part, known);
            }
            unknown.Join(known, first, ids);
        }
    }

    /// <summary>Appends the ids of a text that is not empty.</summary>
    protected abstract void EncodePart(ReadOnlySpan<char> text, UnknownCharacters unknown, List<int> ids);
}
