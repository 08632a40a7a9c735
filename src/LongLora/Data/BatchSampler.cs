using LongLora.Runtime;

namespace LongLora.Data;

/// <summary>Where a <see cref="BatchSampler"/> stands: enough to go on with the very next batch.</summary>
/// <param name="Epoch">Passes over the corpus that are complete.</param>
/// <param name="Index">Sequences of this pass that were given out.</param>
public readonly record struct BatchSamplerState(long Epoch, long Index);

/// <summary>
/// Cuts a corpus every <c>context</c> tokens and gives the pieces out in batches, in an order that depends on the seed alone: the same on
/// every machine and .NET version. Each pass over the corpus has its own order; the tail that fills no sequence is left out.
/// </summary>
public sealed class BatchSampler
{
    private readonly TokenStore _tokens;
    private readonly int _context, _batchSize, _rank, _world;
    private readonly long _seed;
    private readonly bool _shuffle;
    private int[]? _order;
    private long _orderEpoch = -1;

    /// <summary>Makes a sampler at the beginning.</summary>
    /// <param name="tokens">The corpus.</param>
    /// <param name="context">L, tokens in a sequence.</param>
    /// <param name="batchSize">B, sequences in a batch.</param>
    /// <param name="seed">Seed of the order.</param>
    /// <param name="shuffle">Whether to shuffle; otherwise sequences come as they lie.</param>
    /// <param name="rank">Of several processes, this one: it gets every <paramref name="world"/>-th batch.</param>
    /// <param name="world">Number of processes; together they see what one process with as many micro-batches sees.</param>
    /// <exception cref="DataException">The corpus is shorter than one sequence.</exception>
    public BatchSampler(TokenStore tokens, int context, int batchSize, long seed, bool shuffle = true, int rank = 0, int world = 1)
    {
        (_tokens, _context, _batchSize, _seed, _shuffle, _rank, _world) = (tokens, context, batchSize, seed, shuffle, rank, world);
        SequenceCount = tokens.Count / context;
        if (SequenceCount == 0)
            throw new DataException($"The data has {tokens.Count} tokens, but one training sequence takes {context}. Add text, or train with a smaller context.");
        if (SequenceCount > int.MaxValue)
            throw new DataException($"The data has {SequenceCount} sequences of {context} tokens; at most {int.MaxValue} can be shuffled.");
    }

    /// <summary>Sequences in one pass.</summary>
    public long SequenceCount { get; }

    /// <summary>Where the sampler stands. Setting it goes back, or on, to that place.</summary>
    public BatchSamplerState State { get; set; }

    /// <summary>The next batch of this process.</summary>
    public Batch Next()
    {
        Batch? mine = null;
        for (var process = 0; process < _world; process++)
        {
            var indices = new long[_batchSize];
            for (var i = 0; i < _batchSize; i++)
                indices[i] = NextSequence();
            if (process == _rank)
                mine = Cut(indices);
        }
        return mine!;
    }

    private Batch Cut(long[] sequences)
    {
        var ids = new long[_batchSize * _context];
        for (var row = 0; row < _batchSize; row++)
            _tokens.CopyTo(sequences[row] * _context, ids.AsSpan(row * _context, _context));
        return new Batch(ids, null, _batchSize, _context);
    }

    private long NextSequence()
    {
        var state = State;
        if (state.Index >= SequenceCount)
            state = new BatchSamplerState(state.Epoch + 1, 0);
        State = state with { Index = state.Index + 1 };
        return _shuffle ? Order(state.Epoch)[state.Index] : state.Index;
    }

    private int[] Order(long epoch)
    {
        if (_order is not null && _orderEpoch == epoch)
            return _order;
        var order = new int[SequenceCount];
        for (var i = 0; i < order.Length; i++)
            order[i] = i;
        new SplitMix64((ulong)_seed * 0x9E3779B97F4A7C15 + (ulong)epoch * 0xD1B54A32D192ED03).Shuffle<int>(order);
        (_order, _orderEpoch) = (order, epoch);
        return order;
    }
}
