using System.Numerics;
using LongLora.Configs;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Positions;

// L tokens, H heads, K head size, R <= K rotated numbers of a head

/// <summary>
/// Cosines and sines of the rotary position embedding (RoFormer, arXiv 2104.09864) for a sequence of positions. The layout is Llama's,
/// where dimension i is paired with i + R/2, or GPT-J's, where dimension 2i is paired with 2i + 1. Dimensions from R on are not rotated.
/// If layers differ, it has the tables of each kind of layer. Angles are computed in double precision, because single precision is off by
/// 0.03 rad at position 1,000,000.
/// </summary>
internal sealed class RotaryEmbedding : IDisposable
{
    private readonly Tensor _cos,
        _sin;

    // (cos, cos) and (-sin, sin), to rotate a few heads with few calls; null if the number of calls does not matter.
    private Tensor? _bothCos,
        _bothSin;

    /// <summary>Rotates nothing, for callers that apply positions later. It has no length.</summary>
    internal static RotaryEmbedding None { get; } = new(null!, null!);

    /// <summary>Positions of given tables, which it disposes.</summary>
    /// <param name="cos">Cosines [L, 1, R/2], fp32.</param>
    /// <param name="sin">Sines of the same shape.</param>
    internal RotaryEmbedding(Tensor cos, Tensor sin) => (_cos, _sin) = (cos, sin);

    // Dimension 2 i is paired with 2 i + 1.
    private bool IsInterleaved { get; init; }

    // Tables of layers with positions of their own, and of queries where these grow with their position.
    private RotaryEmbedding? Local { get; init; }

    private RotaryEmbedding? Queries { get; init; }

    /// <summary>The tables of one kind of layer; null if nothing rotates.</summary>
    internal RotaryEmbedding? Select(LayerRotation rotation) =>
        rotation switch
        {
            LayerRotation.None => null,
            LayerRotation.Local => Local ?? this,
            _ => this,
        };

    /// <summary>The tables for queries: those of keys, or where queries grow with their position, times that growth.</summary>
    internal RotaryEmbedding SelectForQueries() => Queries ?? this;

    /// <summary>Number of positions.</summary>
    public long Length => _cos.size(-3);

    /// <summary>Tables for <paramref name="length"/> positions from <paramref name="start"/> on.</summary>
    /// <param name="config">Rotary size, base and scaling.</param>
    /// <param name="length">Number of positions.</param>
    /// <param name="device">Where the tables live. They are always fp32.</param>
    /// <param name="textLength">
    /// Length of the text, which dynamic and longrope scaling depend on; null for the number of positions up to the last one.
    /// </param>
    /// <param name="start">The first position.</param>
    public static RotaryEmbedding Create(ModelConfig config, int length, Device? device = null, int? textLength = null, int start = 0)
    {
        if (length < 1)
            throw new ShapeException($"Cannot make positions for {length} tokens. At least one token is needed.");
        textLength ??= start + length;
        var frequencies = RopeScaling.ComputeFrequencies(config, textLength.Value);
        var (cos, sin) = Tabulate(frequencies, start, length, device, null);
        return new(cos, sin)
        {
            IsInterleaved = config.InterleavedRotation,
            Local = config.LocalRope is null ? null : Create(RopeScaling.MakeLocal(config), length, device, textLength, start),
            Queries = config.RopeScaling.QueryGrowth is { } growth ? MakeQueries(config, frequencies, start, length, device, growth) : null,
        };
    }

    private static RotaryEmbedding MakeQueries(
        ModelConfig config,
        RopeFrequencies frequencies,
        int start,
        int length,
        Device? device,
        double growth
    )
    {
        var context = RopeScaling.GetOriginalContext(config);
        var (cos, sin) = Tabulate(frequencies, start, length, device, position => 1 + growth * Math.Log(1 + position / context));
        return new(cos, sin) { IsInterleaved = config.InterleavedRotation };
    }

    private static (Tensor Cos, Tensor Sin) Tabulate(
        RopeFrequencies frequencies,
        int start,
        int length,
        Device? device,
        Func<int, double>? growth
    )
    {
        using var scope = NewDisposeScope();
        var half = frequencies.Inverse.Length;
        Tensor cos = empty(length, 1, half),
            sin = empty(length, 1, half);
        Fill(cos, sin, frequencies, start, length, growth);
        return (cos.to(device ?? CPU).DetachFromDisposeScope(), sin.to(device ?? CPU).DetachFromDisposeScope());
    }

    private RotaryEmbedding Map(Func<Tensor, Tensor> table) =>
        new(table(_cos), table(_sin))
        {
            IsInterleaved = IsInterleaved,
            Local = Local?.Map(table),
            Queries = Queries?.Map(table),
        };

    /// <summary>Tables for any positions, with frequencies that are already known. The caller disposes them.</summary>
    /// <param name="frequencies">The frequencies of the model.</param>
    /// <param name="positions">Positions from 0 on. Angles are exact to 1e-7 up to position one billion.</param>
    /// <param name="device">Where the tables live.</param>
    internal static RotaryEmbedding At(RopeFrequencies frequencies, ReadOnlySpan<long> positions, Device device)
    {
        var half = frequencies.Inverse.Length;
        float[] cos = new float[positions.Length * half],
            sin = new float[cos.Length];
        for (var i = 0; i < cos.Length; i++)
        {
            var (s, c) = Math.SinCos(positions[i / half] * frequencies.Inverse[i % half]);
            (cos[i], sin[i]) = ((float)(c * frequencies.AttentionFactor), (float)(s * frequencies.AttentionFactor));
        }
        long[] shape = [positions.Length, 1, half];
        return new(
            tensor(cos, shape, device: device).DetachFromDisposeScope(),
            tensor(sin, shape, device: device).DetachFromDisposeScope()
        );
    }

    /// <summary>The tables for some of the positions, as views that live as long as the surrounding dispose scope.</summary>
    /// <param name="start">First position.</param>
    /// <param name="count">Number of positions.</param>
    public RotaryEmbedding Narrow(long start, long count) => Map(table => table.narrow(-3, start, count));

    /// <summary>
    /// The same tables in a layout that rotates heads outside autograd with few calls. Use it for single tokens, where the calls take most
    /// of the time. The new tensors live as long as the surrounding dispose scope.
    /// </summary>
    /// <param name="type">The type of the heads. In fp32 on the CPU one loop rotates them, which needs no other layout.</param>
    internal RotaryEmbedding ForFewTokens(ScalarType type)
    {
        if (type == ScalarType.Float32 && _cos.device_type == DeviceType.CPU)
            return this;
        var laid = new RotaryEmbedding(_cos, _sin)
        {
            IsInterleaved = IsInterleaved,
            Local = Local?.ForFewTokens(type),
            Queries = Queries?.ForFewTokens(type),
        };
        if (!IsInterleaved)
            (laid._bothCos, laid._bothSin) = (cat([_cos, _cos], -1), cat([-_sin, _sin], -1));
        return laid;
    }

    /// <summary>
    /// The tables for any positions in any order, such as those of documents that each start at 0. They are copies, which the caller
    /// disposes.
    /// </summary>
    /// <param name="positions">[L] or [B, L], each below <see cref="Length"/>.</param>
    public RotaryEmbedding At(Tensor positions)
    {
        using var scope = NewDisposeScope();
        Tensor Pick(Tensor table) =>
            table.index_select(0, positions.flatten()).view([.. positions.shape, 1, table.size(2)]).DetachFromDisposeScope();
        return Map(Pick);
    }

    /// <summary>
    /// Two tables one after the other: position i of the second becomes i + <see cref="Length"/> of the first. They are copies, which the
    /// caller disposes.
    /// </summary>
    public static RotaryEmbedding Join(RotaryEmbedding first, RotaryEmbedding second) =>
        new(cat([first._cos, second._cos], -3), cat([first._sin, second._sin], -3))
        {
            IsInterleaved = first.IsInterleaved,
            Local = first.Local is null ? null : Join(first.Local, second.Local!),
            Queries = first.Queries is null ? null : Join(first.Queries, second.Queries!),
        };

    /// <summary>The tables for one position per row of a batch, so that [B, 1, H, K] heads are rotated each by its own position.</summary>
    /// <param name="positions">B positions.</param>
    public RotaryEmbedding ForRows(IReadOnlyList<int> positions)
    {
        using var rows = tensor(positions.Select(p => (long)p).ToArray(), device: _cos.device);
        Tensor Pick(Tensor table) => table.index_select(0, rows).unsqueeze(1); // [L, 1, K/2] -> [B, 1, 1, K/2]
        return Map(Pick);
    }

    /// <summary>
    /// Rotates each head by the angle of its position: (a, b) becomes (a cos - b sin, b cos + a sin), computed in fp32 and rounded once.
    /// </summary>
    /// <param name="heads">[B, L, H, K] of any floating-point type.</param>
    /// <returns>[B, L, H, K] of the same type, contiguous.</returns>
    public Tensor Rotate(Tensor heads)
    {
        if (ReferenceEquals(this, None))
            return heads.contiguous();
        if (IsLoop(heads))
            return RotateInLoop(heads, isBack: false);
        using var scope = NewDisposeScope();
        if (_bothCos is not null && heads.size(3) == _bothCos.size(-1))
        {
            var turned = heads.roll(_cos.size(-1), -1);
            turned = heads.dtype == ScalarType.Float32 ? turned.mul_(_bothSin!) : turned * _bothSin!;
            // Same bits: -x sin is exact.
            return (heads * _bothCos).add_(turned, Scalars.One).In(heads.dtype).MoveToOuterDisposeScope();
        }
        var (a, b, rest, cos, sin) = Split(heads);
        return Pair((a * cos).sub_(b * sin), (b * cos).add_(a * sin, Scalars.One), rest).In(heads.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Rotates the heads of one token in place, with the bits of <see cref="Rotate"/>; false if the tables are not laid out for that.
    /// </summary>
    /// <param name="heads">Contiguous, fp32, on the CPU, of any shape [.., K].</param>
    internal unsafe bool TryRotateToken(Tensor heads)
    {
        if (ReferenceEquals(this, None))
            return true;
        if (_cos.numel() != _cos.size(-1) || !_cos.is_contiguous() || !_sin.is_contiguous() || _cos.dtype != ScalarType.Float32)
            return false;
        var at = (float*)NativeTensor.GetAddress(heads);
        var size = heads.size(-1);
        float* cos = (float*)NativeTensor.GetAddress(_cos),
            sin = (float*)NativeTensor.GetAddress(_sin);
        RotateHeads(at, at, heads.numel() / size, size, cos, sin, _cos.size(-1), isBack: false);
        return true;
    }

    // Tables have one position for each token of a row or for each token of all rows.
    private bool IsLoop(Tensor heads) =>
        HostLoop.Takes(heads)
        && _cos.size(-3) == heads.size(1)
        && (_cos.dim() == 3 || _cos.size(0) == heads.size(0))
        && _cos.dtype == ScalarType.Float32
        && _cos.is_contiguous()
        && _sin.is_contiguous();

    private unsafe Tensor RotateInLoop(Tensor heads, bool isBack)
    {
        heads = HostLoop.Lay(heads);
        var output = empty_like(heads);
        long perToken = heads.size(2),
            size = heads.size(3),
            half = _cos.size(-1),
            positions = _cos.numel() / half;
        var rows = (heads.size(0) * heads.size(1), perToken * size);
        using Tensor inputs = heads.view(rows.Item1, rows.Item2),
            outputs = output.view(rows.Item1, rows.Item2);
        var (x, y) = (new RowsAt(inputs), new RowsAt(outputs));
        float* cos = (float*)NativeTensor.GetPointer(_cos),
            sin = (float*)NativeTensor.GetPointer(_sin);
        HostLoop.ForRows(rows.Item1, rows.Item2, (first, count) =>
        {
            var room = HostLoop.GetRoom(rows.Item2);
            for (var token = first; token < first + count; token++)
            {
                var table = token % positions * half;
                float* from = x.Read(token, rows.Item2, room),
                    to = y.Open(token, room);
                RotateHeads(from, to, perToken, size, cos + table, sin + table, half, isBack);
                y.Close(token, rows.Item2, to);
            }
        });
        GC.KeepAlive(heads);
        GC.KeepAlive(this);
        return output;
    }

    // Heads of K numbers of one token, forward or back; in place if x is y.
    private unsafe void RotateHeads(float* x, float* y, long count, long size, float* cos, float* sin, long half, bool isBack)
    {
        var sign = isBack ? -1f : 1f;
        var (step, other) = IsInterleaved ? (2L, 1L) : (1L, half);
        for (var head = 0L; head < count; head++, x += size, y += size)
        {
            var i = 0L;
            for (var width = Vector<float>.Count; !IsInterleaved && i + width <= half; i += width)
            {
                Vector<float> a = Vector.Load(x + i),
                    b = Vector.Load(x + half + i),
                    byCos = Vector.Load(cos + i),
                    bySin = Vector.Load(sin + i) * sign;
                (a * byCos - b * bySin).Store(y + i);
                (b * byCos + a * bySin).Store(y + half + i);
            }
            for (; i < half; i++)
            {
                float a = x[i * step],
                    b = x[i * step + other],
                    bySin = sin[i] * sign;
                y[i * step] = a * cos[i] - b * bySin;
                y[i * step + other] = b * cos[i] + a * bySin;
            }
            if (x != y)
                new Span<float>(x + 2 * half, (int)(size - 2 * half)).CopyTo(new(y + 2 * half, (int)(size - 2 * half)));
        }
    }

    /// <summary>
    /// The gradient of the input of <see cref="Rotate"/> for the gradient of its output: rotates back by the same angles.
    /// </summary>
    /// <param name="gradient">[B, L, H, K].</param>
    /// <returns>[B, L, H, K], contiguous.</returns>
    public Tensor RotateBack(Tensor gradient)
    {
        if (IsLoop(gradient))
            return RotateInLoop(gradient, isBack: true);
        using var scope = NewDisposeScope();
        var (a, b, rest, cos, sin) = Split(gradient);
        return Pair((a * cos).add_(b * sin, Scalars.One), (b * cos).sub_(a * sin), rest).In(gradient.dtype).MoveToOuterDisposeScope();
    }

    private (Tensor A, Tensor B, Tensor[] Still, Tensor Cos, Tensor Sin) Split(Tensor heads)
    {
        long half = _cos.size(-1),
            size = heads.size(3);
        Tensor[] rest = size > 2 * half ? [heads.narrow(3, 2 * half, size - 2 * half)] : [];
        if (IsInterleaved)
        {
            var pairs = heads.narrow(3, 0, 2 * half).unflatten(3, [half, 2]); // -> [B, L, H, R/2, 2]
            return (pairs.select(4, 0), pairs.select(4, 1), rest, _cos, _sin);
        }
        return (heads.narrow(3, 0, half), heads.narrow(3, half, half), rest, _cos, _sin);
    }

    // Joins what Split has divided.
    private Tensor Pair(Tensor a, Tensor b, Tensor[] rest)
    {
        if (!IsInterleaved)
            return cat([a, b, .. rest], 3);
        var pairs = stack([a, b], 4).flatten(3, 4);
        return rest.Length == 0 ? pairs : cat([pairs, .. rest], 3);
    }

    // Fills the tensors directly: for a million positions managed arrays would take as much memory again.
    private static unsafe void Fill(Tensor cos, Tensor sin, RopeFrequencies frequencies, int start, int length, Func<int, double>? growth)
    {
        var (inverse, factor) = (frequencies.Inverse, frequencies.AttentionFactor);
        nint cosAt = NativeTensor.GetPointer(cos),
            sinAt = NativeTensor.GetPointer(sin);
        Parallel.For(start, start + length, position =>
        {
            var (row, own) = ((long)(position - start) * inverse.Length, growth is null ? factor : factor * growth(position));
            for (var i = 0; i < inverse.Length; i++)
            {
                var (s, c) = Math.SinCos(position * inverse[i]);
                ((float*)cosAt)[row + i] = (float)(c * own);
                ((float*)sinAt)[row + i] = (float)(s * own);
            }
        });
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cos.Dispose();
        _sin.Dispose();
        Local?.Dispose();
        Queries?.Dispose();
    }
}
