using System.Text;

namespace LongLora.Tokenization;

/// <summary>What is written for a character that has no token.</summary>
/// <param name="ByteIds">256 ids, one for each byte of its UTF-8 form; null if the model has no byte tokens.</param>
/// <param name="UnknownId">The unknown token, used if there are no byte tokens; null to leave the character out.</param>
/// <param name="Fuse">Whether neighboring unknown characters share one unknown token.</param>
internal sealed record UnknownCharacters(int[]? ByteIds, int? UnknownId, bool Fuse)
{
    /// <summary>Appends the ids for <paramref name="character"/>.</summary>
    public void Append(Rune character, List<int> ids)
    {
        if (ByteIds is not null)
        {
            Span<byte> bytes = stackalloc byte[4];
            foreach (var b in bytes[..character.EncodeToUtf8(bytes)])
                ids.Add(ByteIds[b]);
        }
        else if (UnknownId is { } id)
        {
            ids.Add(id);
        }
    }

    /// <summary>Appends the ids of one word to those of the words before it, which start at <paramref name="start"/>.</summary>
    public void Join(ReadOnlySpan<int> word, int start, List<int> ids)
    {
        if (!Fuse || ByteIds is not null || UnknownId is not { } unknown)
        {
            ids.AddRange(word);
            return;
        }
        foreach (var id in word)
        {
            if (id != unknown || ids.Count == start || ids[^1] != unknown)
                ids.Add(id);
        }
    }
}
