using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>
/// The order in which the sequences, or examples, of several corpora are seen, pass after pass. A corpus with weight w is seen w times per
/// pass; with 0.5, each pass sees another half. No unit of a corpus is repeated before all its units have been seen.
/// </summary>
/// <param name="counts">Units of each corpus.</param>
/// <param name="weights">How often each is seen per pass, above 0.</param>
/// <param name="seed">Seed of the order.</param>
/// <param name="shuffle">Whether to shuffle; otherwise units keep their order, corpus after corpus.</param>
internal sealed class UnitOrder(IReadOnlyList<long> counts, IReadOnlyList<double> weights, long seed, bool shuffle)
{
    private readonly long[] _starts = [.. FindStarts(counts)];
    private int[]? _order;
    private long _epoch = -1;

    /// <summary>Units in one pass.</summary>
    public long CountUnits(long epoch) => counts.Select((count, corpus) => CountDrawn(corpus, epoch + 1) - CountDrawn(corpus, epoch)).Sum();

    /// <summary>The unit at a position of a pass.</summary>
    public (int Corpus, long Unit) FindUnit(long epoch, long index)
    {
        var unit = GetOrder(epoch)[index];
        var corpus = Array.FindLastIndex(_starts, start => start <= unit);
        // Empty corpora start where the next one does, so the last one that starts there has the unit.
        return (corpus, unit - _starts[corpus]);
    }

    // How many units of a corpus all passes before this one have seen.
    private long CountDrawn(int corpus, long epoch) =>
        weights[corpus] == 1 ? epoch * counts[corpus] : (long)Math.Round(epoch * weights[corpus] * counts[corpus]);

    private int[] GetOrder(long epoch)
    {
        if (_order is not null && _epoch == epoch)
            return _order;
        var count = CountUnits(epoch);
        if (count > int.MaxValue || _starts[^1] + counts[^1] > int.MaxValue)
            throw new DataException(
                $"The data has {count} sequences per pass, but at most {int.MaxValue} can be shuffled. Use a larger context, or less data."
            );
        var order = new int[count];
        var at = 0;
        for (var corpus = 0; corpus < counts.Count; corpus++)
            at = Draw(order, at, corpus, epoch);
        if (shuffle)
            MakeGenerator(seed, epoch).Shuffle<int>(order);
        (_order, _epoch) = (order, epoch);
        return order;
    }

    private int Draw(int[] order, int at, int corpus, long epoch)
    {
        int[]? own = null;
        var round = -1L;
        for (var drawn = CountDrawn(corpus, epoch); drawn < CountDrawn(corpus, epoch + 1); drawn++)
        {
            var (r, place) = Math.DivRem(drawn, counts[corpus]);
            // Which half comes first is random too, and drawn again for each round over the corpus.
            if (r != round && shuffle && weights[corpus] != 1)
            {
                own = [.. Enumerable.Range(0, (int)counts[corpus])];
                MakeGenerator(seed ^ (corpus + 1) * 0x2545F4914F6CDD1D, r).Shuffle<int>(own);
            }
            round = r;
            order[at++] = (int)(_starts[corpus] + (own?[place] ?? place));
        }
        return at;
    }

    private static SplitMix64 MakeGenerator(long seed, long epoch) =>
        new((ulong)seed * 0x9E3779B97F4A7C15 + (ulong)epoch * 0xD1B54A32D192ED03);

    private static IEnumerable<long> FindStarts(IReadOnlyList<long> counts)
    {
        var start = 0L;
        foreach (var count in counts)
        {
            yield return start;
            start += count;
        }
    }
}
