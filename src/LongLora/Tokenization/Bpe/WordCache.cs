using System.Collections.Concurrent;

namespace LongLora.Tokenization;

/// <summary>
/// Remembers the ids of words seen before: text repeats itself, and looking up a word is many times faster than merging it. It holds at
/// most <see cref="Capacity"/> words (about 16 MB); when it is full it is cleared and starts again with the current text. Thread-safe.
/// </summary>
internal sealed class WordCache
{
    /// <summary>Longer words are rare and not remembered.</summary>
    public const int LongestWord = 32;

    private const int Capacity = 1 << 17;
    private readonly ConcurrentDictionary<string, int[]> _words = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private int _count;

    public WordCache() => _lookup = _words.GetAlternateLookup<ReadOnlySpan<char>>();

    /// <summary>The ids of a word, if it is remembered.</summary>
    public bool TryGet(ReadOnlySpan<char> word, out ReadOnlySpan<int> ids)
    {
        var found = _lookup.TryGetValue(word, out var known);
        ids = known;
        return found;
    }

    /// <summary>Remembers a word.</summary>
    public void Add(ReadOnlySpan<char> word, ReadOnlySpan<int> ids)
    {
        if (word.Length > LongestWord || !_lookup.TryAdd(word, ids.ToArray()) || Interlocked.Increment(ref _count) < Capacity)
            return;
        _words.Clear();
        _count = 0;
    }
}
