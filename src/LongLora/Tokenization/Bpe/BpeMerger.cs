using System.Runtime.CompilerServices;

namespace LongLora.Tokenization;

/// <summary>
/// Which neighboring symbols merge, into which symbol, and with which rank: an open hash table, read-only after construction.
/// </summary>
internal sealed class MergeTable
{
    /// <summary>The rank of a pair that does not merge.</summary>
    public const int Never = int.MaxValue;

    private Entry[] _entries;
    private int _shift;
    private int _count;

    /// <summary>An empty table with room for <paramref name="capacity"/> pairs.</summary>
    public MergeTable(int capacity)
    {
        var bits = 4;
        while (1L << bits < 2L * capacity)
            bits++;
        _entries = new Entry[1 << bits];
        _shift = 64 - bits;
    }

    /// <summary>Adds a pair. If it already exists, the lower rank is kept.</summary>
    public void Add(int left, int right, int rank, int merged)
    {
        if (2 * (_count + 1) > _entries.Length)
            Grow();
        ref var entry = ref FindSlot(MakeKey(left, right));
        if (entry.Used == 0)
            _count++;
        else if (entry.Rank <= rank)
            return;
        entry = new Entry
        {
            Key = MakeKey(left, right),
            Rank = rank,
            Merged = merged,
            Used = 1,
        };
    }

    /// <summary>The rank of a pair (0 merges first) and the symbol it becomes; <see cref="Never"/> if it does not merge.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int FindRank(int left, int right, out int merged)
    {
        ref var entry = ref FindSlot(MakeKey(left, right));
        merged = entry.Merged;
        return entry.Used == 0 ? Never : entry.Rank;
    }

    private static ulong MakeKey(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    private ref Entry FindSlot(ulong key)
    {
        var mask = _entries.Length - 1;
        // Multiplicative hashing (2^64 / golden ratio) spreads neighboring ids.
        var slot = (int)((key ^ (key >> 29)) * 0x9E3779B97F4A7C15UL >> _shift);
        while (_entries[slot].Used != 0 && _entries[slot].Key != key)
            slot = (slot + 1) & mask;
        return ref _entries[slot];
    }

    private void Grow()
    {
        var old = _entries;
        _entries = new Entry[2 * old.Length];
        _shift--;
        foreach (var entry in old)
        {
            if (entry.Used != 0)
                FindSlot(entry.Key) = entry;
        }
    }

    private struct Entry
    {
        public ulong Key;
        public int Rank;
        public int Merged;
        public int Used;
    }
}

/// <summary>
/// Byte pair encoding of a sequence of symbols: the pair with the lowest rank merges, the leftmost first if ranks are equal, until no pair
/// is left. It is exact for both sources: merge lists (rank = line) and SentencePiece (rank = order of scores).
/// </summary>
internal static class BpeMerger
{
    // Up to this length, looking at all pairs for each merge is faster than a queue.
    private const int ShortLength = 64;

    /// <summary>Merges in place and returns the number of symbols left. Time: n log n, or n^2 for short sequences.</summary>
    public static int Merge(Span<int> symbols, MergeTable table) =>
        symbols.Length <= ShortLength ? MergeShort(symbols, table) : MergeLong(symbols, table);

    /// <summary>The plain definition. The symbols must fit on the stack, so at most a few thousand.</summary>
    internal static int MergeShort(Span<int> symbols, MergeTable table)
    {
        var count = symbols.Length;
        Span<int> ranks = stackalloc int[count];
        for (var i = 0; i + 1 < count; i++)
            ranks[i] = table.FindRank(symbols[i], symbols[i + 1], out _);
        while (count > 1)
        {
            var best = 0;
            for (var i = 1; i + 1 < count; i++)
            {
                if (ranks[i] < ranks[best])
                    best = i;
            }
            if (ranks[best] == MergeTable.Never)
                break;
            table.FindRank(symbols[best], symbols[best + 1], out symbols[best]);
            count--;
            symbols[(best + 2)..(count + 1)].CopyTo(symbols[(best + 1)..]);
            ranks[(best + 1)..count].CopyTo(ranks[best..]);
            if (best > 0)
                ranks[best - 1] = table.FindRank(symbols[best - 1], symbols[best], out _);
            if (best + 1 < count)
                ranks[best] = table.FindRank(symbols[best], symbols[best + 1], out _);
        }
        return count;
    }

    /// <summary>The same with a queue of pairs, for sequences of any length.</summary>
    internal static int MergeLong(Span<int> symbols, MergeTable table)
    {
        var count = symbols.Length;
        var borrowed = ScratchArray.Rent<int>(3 * count);
        var next = borrowed.AsSpan(0, count);
        var previous = borrowed.AsSpan(count, count);
        var ranks = borrowed.AsSpan(2 * count, count);
        var queue = new PriorityQueue<int, long>(count);
        for (var i = 0; i < count; i++)
            (next[i], previous[i], ranks[i]) = (i + 1, i - 1, MergeTable.Never);
        for (var i = 0; i + 1 < count; i++)
            Offer(i, symbols, next, ranks, table, queue);
        while (queue.TryDequeue(out var left, out var priority))
        {
            // Since it was queued, the pair at this position has changed, or the position is gone.
            if (ranks[left] != (int)(priority >> 32))
                continue;
            var right = next[left];
            table.FindRank(symbols[left], symbols[right], out symbols[left]);
            next[left] = next[right];
            ranks[right] = MergeTable.Never;
            if (next[left] < count)
                previous[next[left]] = left;
            Offer(left, symbols, next, ranks, table, queue);
            if (previous[left] >= 0)
                Offer(previous[left], symbols, next, ranks, table, queue);
        }
        var kept = 0;
        for (var i = 0; i < count; i = next[i])
            symbols[kept++] = symbols[i];
        ScratchArray.Return(borrowed);
        return kept;
    }

    private static void Offer(
        int left,
        Span<int> symbols,
        Span<int> next,
        Span<int> ranks,
        MergeTable table,
        PriorityQueue<int, long> queue
    )
    {
        ranks[left] = next[left] < symbols.Length ? table.FindRank(symbols[left], symbols[next[left]], out _) : MergeTable.Never;
        if (ranks[left] != MergeTable.Never)
            queue.Enqueue(left, ((long)ranks[left] << 32) | (uint)left);
    }
}
