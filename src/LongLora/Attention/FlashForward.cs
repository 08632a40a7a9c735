using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Attention;

// B batch, H query heads, J key-value heads, L queries, S keys, K head size

/// <summary>
/// The forward pass of <see cref="FlashAttention"/>, computed in fp32. A block of queries of one head goes over the keys in blocks that fit
/// into the second-level cache, with the largest score and the sum so far of each row (FlashAttention-2, arXiv 2307.08691). Blocks of
/// queries do not depend on each other, so results do not depend on the number of threads.
/// </summary>
internal static unsafe class FlashForward<TLanes, V>
    where TLanes : ILanes<V>
    where V : struct
{
    private const int KeyBlock = 128,
        QueryBlock = 96;

    [ThreadStatic]
    private static PinnedBuffer? s_buffer;

    private static int Width => TileProduct.Vectors * TLanes.Count;

    /// <summary>Writes output and log-sum-exp.</summary>
    /// <param name="query">[B, H, L, K].</param>
    /// <param name="key">[B, J, S, K].</param>
    /// <param name="value">[B, J, S, K].</param>
    /// <param name="output">[B, H, L, K].</param>
    /// <param name="logSumExp">[B, H, L].</param>
    /// <param name="sizes">All sizes.</param>
    /// <param name="threads">The most threads that are worth it.</param>
    public static void Run(HeadRows query, HeadRows key, HeadRows value, HeadRows output, float* logSumExp, FlashSizes sizes, long threads)
    {
        long blocks = (sizes.Queries + QueryBlock - 1) / QueryBlock;
        ThreadTeam.RunInOrder(sizes.Batch * sizes.Heads * blocks, threads, task =>
        {
            // The last blocks see the most keys: they come first, so that threads end together.
            var block = blocks - 1 - task / (sizes.Batch * sizes.Heads);
            var head = task % (sizes.Batch * sizes.Heads);
            AttendBlock(query, key, value, output, logSumExp, sizes, head / sizes.Heads, head % sizes.Heads, (int)block * QueryBlock);
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AttendBlock(
        HeadRows query,
        HeadRows key,
        HeadRows value,
        HeadRows output,
        float* logSumExp,
        FlashSizes sizes,
        long batch,
        long head,
        int firstQuery
    )
    {
        var (size, shared) = (sizes.Size, head / sizes.HeadsPerShared);
        var padded = (size + Width - 1) / Width * Width;
        var rows = Math.Min(QueryBlock, sizes.Queries - firstQuery);
        var tiles = (rows + TileProduct.Rows - 1) / TileProduct.Rows;
        var queries = (s_buffer ??= new()).Get(QueryBlock * (size + KeyBlock + padded + 2) + KeyBlock * (2 * size + padded));
        var scores = queries + QueryBlock * size;
        var sums = scores + QueryBlock * KeyBlock;
        var keys = sums + QueryBlock * padded;
        var values = keys + KeyBlock * size;
        var largest = values + KeyBlock * padded;
        var weights = largest + QueryBlock;
        var room = weights + QueryBlock;

        var q = query.Read(batch, head, firstQuery, rows, size, room, out var queryStride);
        TilePanels.CopyRows(q, queryStride, rows, size, sizes.Scale, queries);
        new Span<float>(queries + rows * size, (tiles * TileProduct.Rows - rows) * size).Clear();
        new Span<float>(sums, tiles * TileProduct.Rows * padded).Clear();
        new Span<float>(largest, rows).Fill(float.NegativeInfinity);
        new Span<float>(weights, rows).Clear();
        var seen = sizes.IsCausal ? Math.Min(sizes.Keys, firstQuery + rows) : sizes.Keys;
        for (var firstKey = 0; firstKey < seen; firstKey += KeyBlock)
        {
            var columns = Math.Min(KeyBlock, seen - firstKey);
            // Keys of this block that a row sees, counted from its first one.
            var diagonal = sizes.IsCausal ? firstQuery - firstKey + 1 : columns;
            var step = sizes.IsCausal ? 1 : 0;
            var k = key.Read(batch, shared, firstKey, columns, size, room, out var keyStride);
            TilePanels.TransposeIntoPanels(k, keyStride, columns, size, Width, 1, keys);
            var v = value.Read(batch, shared, firstKey, columns, size, room, out var valueStride);
            TilePanels.CutIntoPanels(v, valueStride, columns, size, Width, KeyBlock, 1, values);
            for (var column = 0; column < columns; column += Width)
            {
                for (var tile = 0; tile < tiles; tile++)
                {
                    var row = tile * TileProduct.Rows;
                    if (column < diagonal + step * (row + TileProduct.Rows - 1))
                        TileProduct.Multiply<TLanes, V>(
                            queries + row * size,
                            size,
                            1,
                            keys + column * size,
                            size,
                            scores + row * KeyBlock + column,
                            KeyBlock,
                            adds: false
                        );
                }
            }
            for (var row = 0; row < rows; row++)
            {
                var count = Math.Clamp(diagonal + step * row, 0, columns);
                var last = row / TileProduct.Rows * TileProduct.Rows + TileProduct.Rows - 1;
                var limit = Math.Clamp(diagonal + step * last, 0, columns);
                Exponentiate(scores + row * KeyBlock, count, limit, largest + row, weights + row, sums + row * padded, padded);
            }
            for (var column = 0; column < padded; column += Width)
            {
                for (var tile = 0; tile < tiles; tile++)
                {
                    var row = tile * TileProduct.Rows;
                    var limit = Math.Min(columns, diagonal + step * (row + TileProduct.Rows - 1));
                    if (limit > 0)
                        TileProduct.Multiply<TLanes, V>(
                            scores + row * KeyBlock,
                            KeyBlock,
                            1,
                            values + column * KeyBlock,
                            limit,
                            sums + row * padded + column,
                            padded,
                            adds: true
                        );
                }
            }
        }
        for (var row = 0; row < rows; row++)
        {
            output.Write(sums + row * padded, 1 / weights[row], size, batch, head, firstQuery + row);
            logSumExp[(batch * sizes.Heads + head) * sizes.Queries + firstQuery + row] = largest[row] + MathF.Log(weights[row]);
        }
    }

    // Scores become exp(score - largest), up to count, then 0 up to limit. What was summed before is scaled to the new largest score.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Exponentiate(float* scores, int count, int limit, float* largest, float* weight, float* sums, int size)
    {
        var width = TLanes.Count;
        if (count > 0)
        {
            var end = (count + width - 1) / width * width;
            for (var i = count; i < end; i++)
                scores[i] = float.NegativeInfinity;
            var most = TLanes.Load(scores);
            for (var i = width; i < end; i += width)
                most = TLanes.Max(most, TLanes.Load(scores + i));
            var top = TLanes.Largest(most);
            if (top > *largest)
            {
                if (*weight > 0)
                {
                    var factor = MathF.Exp(*largest - top);
                    *weight *= factor;
                    for (var i = 0; i < size; i += width)
                        TLanes.Store(TLanes.Multiply(TLanes.Load(sums + i), TLanes.Create(factor)), sums + i);
                }
                *largest = top;
            }
            var subtrahend = TLanes.Create(*largest);
            var sum = TLanes.Create(0);
            for (var i = 0; i < end; i += width)
            {
                var power = LaneMath.Exp<TLanes, V>(TLanes.Subtract(TLanes.Load(scores + i), subtrahend));
                TLanes.Store(power, scores + i);
                sum = TLanes.Add(sum, power);
            }
            *weight += TLanes.Sum(sum);
        }
        for (var i = count; i < limit; i++)
            scores[i] = 0;
    }
}
