using System.Numerics;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Attention;

// H query heads, J key-value heads, n keys, K head size

/// <summary>
/// Attention of one new token to all tokens of a cache on the CPU, as in decoding. Keys and values are read once, in the type that they are
/// stored in, and serve all query heads that share them. The tokens are divided into pieces, which threads compute alone and which are then
/// joined by their sums (FlashDecoding), so the result does not depend on the number of threads.
/// </summary>
internal static unsafe class TokenAttention
{
    // The numbers of a piece stay in the second-level cache.
    private const int PieceTokens = 128;

    // About 10 µs.
    private const long ProductsPerThread = 128 << 10;

    // A score and a sum after each output.
    private const int Sums = 2;

    [ThreadStatic]
    private static PinnedBuffer? s_pieces,
        s_scores;

    /// <summary>Whether a query is computed here: one token in fp32, on the CPU, outside autograd.</summary>
    public static bool Takes(Tensor query) =>
        query.device_type == DeviceType.CPU && query.size(2) == 1 && query.dtype == ScalarType.Float32 && !is_grad_enabled();

    /// <summary>softmax(q kᵀ / sqrt(K)) v for one token.</summary>
    /// <param name="query">[1, H, 1, K], as <see cref="Takes"/> says.</param>
    /// <param name="keys">[1, J, n, K].</param>
    /// <param name="values">[1, J, n, K].</param>
    /// <returns>[1, H, 1, K].</returns>
    public static Tensor Attend(Tensor query, StoredHeads keys, StoredHeads values)
    {
        using var scope = NewDisposeScope();
        if (!query.is_contiguous())
            query = query.contiguous();
        var output = empty(query.shape, ScalarType.Float32);
        var sizes = new Sizes(query.size(1), keys.Numbers.size(1), keys.Tokens, query.size(3));
        float* q = (float*)NativeTensor.GetPointer(query),
            o = (float*)NativeTensor.GetPointer(output);
        Rows keyRows = new(keys),
            valueRows = new(values);
        var pieces = (s_pieces ??= new()).Get(sizes.Groups * sizes.PieceNumbers * sizes.Pieces);
        var grain = Math.Max(1, ProductsPerThread / (2 * PieceTokens * sizes.HeadsPerGroup * sizes.Size));
        ThreadTeam.Run(sizes.Groups * sizes.Pieces, grain, (first, count) =>
        {
            for (var i = first; i < first + count; i++)
            {
                var (group, piece) = (i / sizes.Pieces, i % sizes.Pieces);
                AttendPiece(
                    q + group * sizes.HeadsPerGroup * sizes.Size,
                    keyRows,
                    valueRows,
                    group,
                    piece,
                    sizes,
                    pieces + i * sizes.PieceNumbers
                );
            }
        });
        for (var group = 0L; group < sizes.Groups; group++)
        {
            for (var head = 0L; head < sizes.HeadsPerGroup; head++, o += sizes.Size)
                Join(pieces + group * sizes.Pieces * sizes.PieceNumbers + head * (sizes.Size + Sums), sizes, o);
        }
        return output.MoveToOuterDisposeScope();
    }

    // Writes the output of each head over the keys of a piece, not yet divided by the sum, then the largest score and the sum.
    private static void AttendPiece(float* queries, Rows keys, Rows values, long group, long piece, Sizes sizes, float* result)
    {
        var (start, size, heads) = (piece * PieceTokens, sizes.Size, sizes.HeadsPerGroup);
        var count = (int)Math.Min(PieceTokens, sizes.Tokens - start);
        var scores = (s_scores ??= new()).Get(heads * PieceTokens + PieceTokens * size);
        var copy = scores + heads * PieceTokens;
        var factor = (float)(1 / Math.Sqrt(size));
        for (var t = 0; t < count; t++)
        {
            var key = keys.Read(group, start + t, size, copy);
            for (var h = 0L; h < heads; h++)
                scores[h * PieceTokens + t] = factor * StoredNumbers.Dot<StoredNumbers.Fp32, float>(key, queries + h * size, size);
        }
        // Consecutive rows: those of the cache, or a copy.
        var rows = values.Read(group, start, size, copy);
        var stride = values.IsCopied ? size : values.Stride;
        for (var t = 1; values.IsCopied && t < count; t++)
            values.Read(group, start + t, size, copy + t * size);
        for (var h = 0L; h < heads; h++, result += size + Sums)
        {
            var own = scores + h * PieceTokens;
            (result[size], result[size + 1]) = Exponentiate(own, count);
            AddRows(own, count, rows, stride, size, result);
        }
    }

    // Scores become exp(score - largest).
    private static (float Largest, float Sum) Exponentiate(float* scores, int count)
    {
        var width = Vector<float>.Count;
        var padded = (count + width - 1) / width * width;
        for (var t = count; t < padded; t++)
            scores[t] = float.NegativeInfinity;
        var most = Vector.Load(scores);
        for (var t = width; t < padded; t += width)
            most = Vector.Max(most, Vector.Load(scores + t));
        var largest = most[0];
        for (var i = 1; i < width; i++)
            largest = MathF.Max(largest, most[i]);
        var sum = Vector<float>.Zero;
        for (var t = 0; t < padded; t += width)
        {
            var power = Vector.Exp(Vector.Load(scores + t) - new Vector<float>(largest));
            power.Store(scores + t);
            sum += power;
        }
        return (largest, Vector.Sum(sum));
    }

    // Σ weight · row
    private static void AddRows(float* weights, int count, float* rows, long stride, long size, float* result)
    {
        var width = Vector<float>.Count;
        var d = 0L;
        for (; d + 4 * width <= size; d += 4 * width)
        {
            Vector<float> first = default,
                second = default,
                third = default,
                fourth = default;
            var row = rows + d;
            for (var t = 0; t < count; t++, row += stride)
            {
                var weight = new Vector<float>(weights[t]);
                first = Vector.MultiplyAddEstimate(weight, Vector.Load(row), first);
                second = Vector.MultiplyAddEstimate(weight, Vector.Load(row + width), second);
                third = Vector.MultiplyAddEstimate(weight, Vector.Load(row + 2 * width), third);
                fourth = Vector.MultiplyAddEstimate(weight, Vector.Load(row + 3 * width), fourth);
            }
            first.Store(result + d);
            second.Store(result + d + width);
            third.Store(result + d + 2 * width);
            fourth.Store(result + d + 3 * width);
        }
        for (; d + width <= size; d += width)
        {
            var sum = Vector<float>.Zero;
            for (var t = 0; t < count; t++)
                sum = Vector.MultiplyAddEstimate(new Vector<float>(weights[t]), Vector.Load(rows + t * stride + d), sum);
            sum.Store(result + d);
        }
        for (; d < size; d++)
        {
            var sum = 0f;
            for (var t = 0; t < count; t++)
                sum += weights[t] * rows[t * stride + d];
            result[d] = sum;
        }
    }

    // The pieces of one head.
    private static void Join(float* first, Sizes sizes, float* output)
    {
        var size = sizes.Size;
        var largest = first[size];
        for (var p = 1L; p < sizes.Pieces; p++)
            largest = MathF.Max(largest, first[p * sizes.PieceNumbers + size]);
        var sum = 0f;
        new Span<float>(output, (int)size).Clear();
        for (var p = 0L; p < sizes.Pieces; p++)
        {
            var piece = first + p * sizes.PieceNumbers;
            var share = MathF.Exp(piece[size] - largest);
            sum += share * piece[size + 1];
            for (var d = 0L; d < size; d++)
                output[d] += share * piece[d];
        }
        for (var d = 0L; d < size; d++)
            output[d] /= sum;
    }

    private readonly record struct Sizes(long Heads, long Groups, long Tokens, long Size)
    {
        public long HeadsPerGroup => Heads / Groups;

        public long Pieces => (Tokens + PieceTokens - 1) / PieceTokens;

        public long PieceNumbers => HeadsPerGroup * (Size + Sums);
    }

    // Where the heads of tokens are.
    private readonly struct Rows(StoredHeads heads)
    {
        private readonly nint _address = NativeTensor.GetAddress(heads.Numbers),
            _scales = heads.Scales is null ? 0 : NativeTensor.GetAddress(heads.Scales);
        private readonly long _group = heads.Numbers.stride(1),
            _groupOfScales = heads.Scales?.stride(1) ?? 0;
        private readonly int _bytes = heads.Numbers.dtype.ElementSize();
        private readonly ScalarType _type = heads.Numbers.dtype;

        // Numbers from a token to the next.
        public long Stride { get; } = heads.Numbers.stride(2);

        public bool IsCopied => _type != ScalarType.Float32;

        public float* Read(long group, long token, long size, float* copy) =>
            StoredNumbers.Read(
                _type,
                _address + (nint)((group * _group + token * Stride) * _bytes),
                size,
                _scales == 0 ? 1 : ((float*)_scales)[group * _groupOfScales + token],
                copy
            );
    }
}
