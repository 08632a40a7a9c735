using System.Runtime.InteropServices;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>
/// Learns a byte-level BPE vocabulary (Sennrich et al., arXiv 1508.07909, on bytes as in GPT-2). It starts with the 256 bytes and
/// repeatedly merges the pair of neighboring tokens that is most frequent inside the words of the text. It is deterministic: of equally
/// frequent pairs it takes the one with the lower ids, as Hugging Face's trainer does.
/// </summary>
internal sealed class BpeTrainer
{
    private readonly List<int[]> _words = [];
    private readonly List<long> _counts = [];
    private readonly Dictionary<(int Left, int Right), long> _pairs = [];
    private readonly Dictionary<(int Left, int Right), HashSet<int>> _places = [];

    private BpeTrainer(IEnumerable<KeyValuePair<string, long>> words)
    {
        foreach (var (word, count) in words)
        {
            int[] symbols = [.. Encoding.UTF8.GetBytes(word).Select(b => (int)b)];
            _words.Add(symbols);
            _counts.Add(count);
            Count(_words.Count - 1, symbols, count);
        }
    }

    /// <summary>
    /// Counts the words of texts (<see cref="ByteLevelTokenizerWriter.LearnedPattern"/>).
    /// </summary>
    /// <param name="texts">The texts.</param>
    public static IReadOnlyDictionary<string, long> CountWords(IEnumerable<string> texts)
    {
        var splitter = ByteLevelTokenizerWriter.MakeSplitter();
        var counts = new Dictionary<string, long>(StringComparer.Ordinal);
        var lookup = counts.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach (var text in texts)
        {
            foreach (var (start, end) in splitter.Split(text))
                CollectionsMarshal.GetValueRefOrAddDefault(lookup, text.AsSpan(start, end - start), out _)++;
        }
        return counts;
    }

    /// <summary>Learns merges, in order. Tokens 0 to 255 are the bytes; merge i makes token 256 + i.</summary>
    /// <param name="words">Words and how often each occurs.</param>
    /// <param name="merges">Number of merges to learn.</param>
    /// <param name="cancellation">Checked once per merge.</param>
    /// <exception cref="DataException">The text is too small: no pair is left.</exception>
    public static IReadOnlyList<(int Left, int Right)> Train(
        IReadOnlyDictionary<string, long> words,
        int merges,
        CancellationToken cancellation = default
    )
    {
        var trainer = new BpeTrainer(words);
        var learned = new List<(int, int)>(merges);
        while (learned.Count < merges)
        {
            cancellation.ThrowIfCancellationRequested();
            if (trainer._pairs.Count == 0)
                throw new DataException(
                    $"The text has enough words for only {learned.Count} of the {merges} merges. Give more text or use a smaller "
                        + $"vocabulary."
                );
            var best = trainer.FindMostFrequent();
            trainer.Join(best, 256 + learned.Count);
            learned.Add(best);
        }
        return learned;
    }

    private (int, int) FindMostFrequent()
    {
        var (best, most) = ((int.MaxValue, int.MaxValue), 0L);
        foreach (var (pair, count) in _pairs)
        {
            if (count > most || (count == most && pair.CompareTo(best) < 0))
                (best, most) = (pair, count);
        }
        return best;
    }

    // Only words that contain the pair are counted again.
    private void Join((int Left, int Right) pair, int token)
    {
        foreach (var index in _places[pair].ToArray())
        {
            var (word, count) = (_words[index], _counts[index]);
            Count(index, word, -count);
            var joined = new List<int>(word.Length - 1);
            for (var i = 0; i < word.Length; i++)
            {
                var here = i + 1 < word.Length && (word[i], word[i + 1]) == pair;
                joined.Add(here ? token : word[i]);
                i += here ? 1 : 0;
            }
            _words[index] = [.. joined];
            Count(index, _words[index], count);
        }
    }

    private void Count(int index, int[] word, long count)
    {
        for (var i = 0; i + 1 < word.Length; i++)
        {
            var pair = (word[i], word[i + 1]);
            ref var total = ref CollectionsMarshal.GetValueRefOrAddDefault(_pairs, pair, out _);
            total += count;
            if (count > 0)
            {
                ref var places = ref CollectionsMarshal.GetValueRefOrAddDefault(_places, pair, out _);
                (places ??= []).Add(index);
                continue;
            }
            if (total == 0)
                _pairs.Remove(pair);
            // The word is removed completely. What is left of the pair in it is counted when the word is added again.
            if (_places.TryGetValue(pair, out var held) && held.Remove(index) && held.Count == 0)
                _places.Remove(pair);
        }
    }
}
