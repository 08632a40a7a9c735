using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Attention;

// B batch, H query heads, J key-value heads, L queries, S keys, K head size

/// <summary>
/// The backward pass of <see cref="FlashAttention"/>, computed in fp32. A block of keys goes over all queries that see it and sums the
/// gradients of its keys and values in the second-level cache. Several blocks of keys give gradients to one block of queries; they add them
/// in the order of the keys, each when its turn comes, so results do not depend on the number of threads. Threads rarely wait, because each
/// starts a block of queries behind the one before.
/// </summary>
internal static unsafe class FlashBackward<TLanes, V>
    where TLanes : ILanes<V>
    where V : struct
{
    // What both blocks need for heads of 64 fits into a second-level cache of 512 KiB. Both are multiples
    // of a tile's rows, and the keys also of its columns.
    private const int KeyBlock = 192,
        QueryBlock = 48;

    [ThreadStatic]
    private static PinnedBuffer? s_buffer;

    private static int Width => TileProduct.Vectors * TLanes.Count;

    /// <summary>Writes the gradients.</summary>
    /// <param name="forward">Query, key, value, gradient of the output, and output.</param>
    /// <param name="logSumExp">[B, H, L] of the whole, which may have been summed over more keys than these.</param>
    /// <param name="delta">Room for [B, H, L]: the sum of gradient times output over each row.</param>
    /// <param name="gradients">Query, key and value.</param>
    /// <param name="querySums">Room for the query's gradient in fp32; the gradient itself if it is in fp32.</param>
    /// <param name="sizes">All sizes.</param>
    /// <param name="threads">The most threads that are worth it.</param>
    public static void Run(
        (HeadRows Query, HeadRows Key, HeadRows Value, HeadRows Gradient, HeadRows Output) forward,
        float* logSumExp,
        float* delta,
        (HeadRows Query, HeadRows Key, HeadRows Value) gradients,
        HeadRows querySums,
        FlashSizes sizes,
        long threads
    )
    {
        long queryBlocks = (sizes.Queries + QueryBlock - 1) / QueryBlock,
            keyBlocks = (sizes.Keys + KeyBlock - 1) / KeyBlock;
        ThreadTeam.RunInOrder(sizes.Batch * sizes.Heads * queryBlocks, threads, task =>
        {
            var (head, first) = (task / queryBlocks, (int)(task % queryBlocks) * QueryBlock);
            var rows = Math.Min(QueryBlock, sizes.Queries - first);
            var room = (s_buffer ??= new()).Get(2 * QueryBlock * sizes.Size);
            var g = forward.Gradient.Read(head / sizes.Heads, head % sizes.Heads, first, rows, sizes.Size, room, out var gStride);
            var o = forward.Output.Read(
                head / sizes.Heads,
                head % sizes.Heads,
                first,
                rows,
                sizes.Size,
                room + QueryBlock * sizes.Size,
                out var oStride
            );
            for (var row = 0; row < rows; row++)
                delta[head * sizes.Queries + first + row] = Dot(g + row * gStride, o + row * oStride, sizes.Size);
        });
        var turns = new int[sizes.Batch * sizes.Heads * queryBlocks];
        var hasFailed = false;
        ThreadTeam.RunInOrder(sizes.Batch * sizes.SharedHeads * keyBlocks, threads, task =>
        {
            try
            {
                var (pair, block) = (task / keyBlocks, (int)(task % keyBlocks));
                new Task(forward, gradients, querySums, logSumExp, delta, sizes, turns, ref hasFailed).Run(
                    pair / sizes.SharedHeads,
                    pair % sizes.SharedHeads,
                    block
                );
            }
            catch
            {
                Volatile.Write(ref hasFailed, true);
                throw;
            }
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Dot(float* a, float* b, int size)
    {
        var sum = TLanes.Create(0);
        var i = 0;
        for (; i <= size - TLanes.Count; i += TLanes.Count)
            sum = TLanes.MultiplyAdd(TLanes.Load(a + i), TLanes.Load(b + i), sum);
        var rest = TLanes.Sum(sum);
        for (; i < size; i++)
            rest += a[i] * b[i];
        return rest;
    }

    // Scores become probabilities, and gradients of probabilities become those of scores, up to count, then both are 0 up to limit.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Differentiate(float* scores, float* gradients, int count, int limit, float logSumExp, float delta)
    {
        V subtrahend = TLanes.Create(logSumExp),
            mean = TLanes.Create(delta);
        for (var i = 0; i < count; i += TLanes.Count)
        {
            var probability = LaneMath.Exp<TLanes, V>(TLanes.Subtract(TLanes.Load(scores + i), subtrahend));
            TLanes.Store(probability, scores + i);
            TLanes.Store(TLanes.Multiply(probability, TLanes.Subtract(TLanes.Load(gradients + i), mean)), gradients + i);
        }
        for (var i = count; i < limit; i++)
            scores[i] = gradients[i] = 0;
    }

    // One block of keys with all queries that see it.
    private readonly ref struct Task(
        (HeadRows Query, HeadRows Key, HeadRows Value, HeadRows Gradient, HeadRows Output) forward,
        (HeadRows Query, HeadRows Key, HeadRows Value) gradients,
        HeadRows querySums,
        float* logSumExp,
        float* delta,
        FlashSizes sizes,
        int[] turns,
        ref bool hasFailed
    )
    {
        private readonly ref bool _hasFailed = ref hasFailed;

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Run(long batch, long shared, int block)
        {
            int size = sizes.Size,
                padded = (size + Width - 1) / Width * Width,
                firstKey = block * KeyBlock,
                columns = Math.Min(KeyBlock, sizes.Keys - firstKey),
                queryBlocks = (sizes.Queries + QueryBlock - 1) / QueryBlock;
            var keysTransposed = (s_buffer ??= new()).Get(
                KeyBlock * (3 * size + 3 * padded) + QueryBlock * (2 * KeyBlock + 2 * size + 3 * padded)
            );
            var valuesTransposed = keysTransposed + KeyBlock * size;
            var keys = valuesTransposed + KeyBlock * size;
            var keySums = keys + KeyBlock * padded;
            var valueSums = keySums + KeyBlock * padded;
            var scores = valueSums + KeyBlock * padded;
            var scoreGradients = scores + QueryBlock * KeyBlock;
            var queries = scoreGradients + QueryBlock * KeyBlock;
            var outputs = queries + QueryBlock * size;
            var queryPanels = outputs + QueryBlock * size;
            var outputPanels = queryPanels + QueryBlock * padded;
            var blockSums = outputPanels + QueryBlock * padded;
            var room = blockSums + QueryBlock * padded;

            var v = forward.Value.Read(batch, shared, firstKey, columns, size, room, out var valueStride);
            TilePanels.TransposeIntoPanels(v, valueStride, columns, size, Width, 1, valuesTransposed);
            var k = forward.Key.Read(batch, shared, firstKey, columns, size, room, out var keyStride);
            TilePanels.TransposeIntoPanels(k, keyStride, columns, size, Width, 1, keysTransposed);
            TilePanels.CutIntoPanels(k, keyStride, columns, size, Width, KeyBlock, 1, keys);
            new Span<float>(keySums, 2 * KeyBlock * padded).Clear();
            for (var head = shared * sizes.HeadsPerShared; head < (shared + 1) * sizes.HeadsPerShared; head++)
            {
                for (var queryAt = sizes.IsCausal ? firstKey / QueryBlock : 0; queryAt < queryBlocks; queryAt++)
                {
                    var firstQuery = queryAt * QueryBlock;
                    var rows = Math.Min(QueryBlock, sizes.Queries - firstQuery);
                    var at = (batch * sizes.Heads + head) * sizes.Queries + firstQuery;
                    var tiles = (rows + TileProduct.Rows - 1) / TileProduct.Rows;
                    // Keys of this block that a row sees, counted from its first one.
                    var diagonal = sizes.IsCausal ? firstQuery - firstKey + 1 : columns;
                    var step = sizes.IsCausal ? 1 : 0;
                    var q = forward.Query.Read(batch, head, firstQuery, rows, size, room, out var queryStride);
                    var g = forward.Gradient.Read(batch, head, firstQuery, rows, size, room + QueryBlock * size, out var outputStride);
                    TilePanels.CopyRows(q, queryStride, rows, size, sizes.Scale, queries);
                    TilePanels.CopyRows(g, outputStride, rows, size, 1, outputs);
                    var missing = tiles * TileProduct.Rows - rows;
                    new Span<float>(queries + rows * size, missing * size).Clear();
                    new Span<float>(outputs + rows * size, missing * size).Clear();
                    TilePanels.CutIntoPanels(q, queryStride, rows, size, Width, QueryBlock, sizes.Scale, queryPanels);
                    TilePanels.CutIntoPanels(g, outputStride, rows, size, Width, QueryBlock, 1, outputPanels);
                    for (var column = 0; column < columns; column += Width)
                    {
                        for (var row = 0; row < rows; row += TileProduct.Rows)
                        {
                            if (column >= diagonal + step * (row + TileProduct.Rows - 1))
                                continue;
                            var tile = row * KeyBlock + column;
                            TileProduct.Multiply<TLanes, V>(
                                queries + row * size,
                                size,
                                1,
                                keysTransposed + column * size,
                                size,
                                scores + tile,
                                KeyBlock,
                                adds: false
                            );
                            TileProduct.Multiply<TLanes, V>(
                                outputs + row * size,
                                size,
                                1,
                                valuesTransposed + column * size,
                                size,
                                scoreGradients + tile,
                                KeyBlock,
                                adds: false
                            );
                        }
                    }
                    for (var row = 0; row < rows; row++)
                    {
                        var last = row / TileProduct.Rows * TileProduct.Rows + TileProduct.Rows - 1;
                        Differentiate(
                            scores + row * KeyBlock,
                            scoreGradients + row * KeyBlock,
                            Math.Clamp(diagonal + step * row, 0, columns),
                            // Tiles of six keys, which begin where tiles of six queries do, read up to five keys more.
                            Math.Clamp(diagonal + step * last, 0, columns),
                            logSumExp[at + row],
                            delta[at + row]
                        );
                    }
                    for (var column = 0; column < padded; column += Width)
                    {
                        for (var row = 0; row < columns; row += TileProduct.Rows)
                        {
                            // The first query that sees a key of the tile.
                            var first = sizes.IsCausal ? Math.Max(0, row + firstKey - firstQuery) : 0;
                            if (first >= rows)
                                continue;
                            var from = first * KeyBlock + row;
                            var to = row * padded + column;
                            TileProduct.Multiply<TLanes, V>(
                                scores + from,
                                1,
                                KeyBlock,
                                outputPanels + column * QueryBlock + first * Width,
                                rows - first,
                                valueSums + to,
                                padded,
                                adds: true
                            );
                            TileProduct.Multiply<TLanes, V>(
                                scoreGradients + from,
                                1,
                                KeyBlock,
                                queryPanels + column * QueryBlock + first * Width,
                                rows - first,
                                keySums + to,
                                padded,
                                adds: true
                            );
                        }
                        for (var row = 0; row < rows; row += TileProduct.Rows)
                        {
                            var limit = Math.Clamp(diagonal + step * (row + TileProduct.Rows - 1), 0, columns);
                            TileProduct.Multiply<TLanes, V>(
                                scoreGradients + row * KeyBlock,
                                KeyBlock,
                                1,
                                keys + column * KeyBlock,
                                limit,
                                blockSums + row * padded + column,
                                padded,
                                adds: false
                            );
                        }
                    }
                    var isAdded = AddInTurn(
                        ref turns[(batch * sizes.Heads + head) * queryBlocks + queryAt],
                        block,
                        querySums.Open(batch, head, firstQuery),
                        querySums.Stride,
                        blockSums,
                        padded,
                        rows
                    );
                    if (!isAdded)
                        return;
                    if (!gradients.Query.IsSingle && block == CountBlocks(firstQuery + rows) - 1)
                    {
                        for (var row = firstQuery; row < firstQuery + rows; row++)
                            gradients.Query.Write(querySums.Open(batch, head, row), 1, size, batch, head, row);
                    }
                }
            }
            for (var row = 0; row < columns; row++)
            {
                gradients.Key.Write(keySums + row * padded, 1, size, batch, shared, firstKey + row);
                gradients.Value.Write(valueSums + row * padded, 1, size, batch, shared, firstKey + row);
            }
        }

        // Blocks of keys that queries before a token see.
        private int CountBlocks(int end) => ((sizes.IsCausal ? end : sizes.Keys) + KeyBlock - 1) / KeyBlock;

        // The first block of keys writes the gradients; the others add to them. False if another block has failed.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private bool AddInTurn(ref int turn, int block, float* rows, long stride, float* sums, int sumStride, int count)
        {
            var wait = new SpinWait();
            while (Volatile.Read(ref turn) != block)
            {
                if (Volatile.Read(ref _hasFailed))
                    return false;
                wait.SpinOnce(sleep1Threshold: -1);
            }
            var (size, scale) = (sizes.Size, TLanes.Create(sizes.Scale));
            for (var row = 0; row < count; row++, rows += stride, sums += sumStride)
            {
                var i = 0;
                for (; i <= size - TLanes.Count; i += TLanes.Count)
                {
                    var sum = TLanes.Multiply(TLanes.Load(sums + i), scale);
                    TLanes.Store(block == 0 ? sum : TLanes.Add(TLanes.Load(rows + i), sum), rows + i);
                }
                for (; i < size; i++)
                    rows[i] = (block == 0 ? 0 : rows[i]) + sums[i] * sizes.Scale;
            }
            Volatile.Write(ref turn, block + 1);
            return true;
        }
    }
}
