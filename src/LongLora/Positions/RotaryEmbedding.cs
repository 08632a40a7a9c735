using LongLora.Configs;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Positions;

// L tokens, H heads, K head size, R <= K rotated numbers of a head

/// <summary>
/// Cosines and sines of the rotary position embedding (RoFormer, arXiv 2104.09864) for a sequence of positions. The layout is Llama's:
/// dimension i is paired with i + R/2, and dimensions from R on are not rotated. Angles are computed in double precision, because single
/// precision is off by 0.03 rad at position 1,000,000.
/// </summary>
public sealed class RotaryEmbedding : IDisposable
{
    private readonly Tensor _cos,
        _sin;

    // (cos, cos) and (-sin, sin), to rotate a few heads with few calls; null if the number of calls does not matter.
    private Tensor? _bothCos,
        _bothSin;

    /// <summary>Rotates nothing, for callers that apply positions later. It has no length.</summary>
    internal static RotaryEmbedding None { get; } = new(null!, null!);

    private RotaryEmbedding(Tensor cos, Tensor sin) => (_cos, _sin) = (cos, sin);

    /// <summary>Number of positions.</summary>
    public long Length => _cos.size(-3);

    /// <summary>Tables for the positions 0 to <paramref name="length"/> - 1.</summary>
    /// <param name="config">Rotary size, base and scaling.</param>
    /// <param name="length">Number of positions.</param>
    /// <param name="device">Where the tables live. They are always fp32.</param>
    /// <param name="textLength">
    /// Length of the text, which dynamic and longrope scaling depend on; null for <paramref name="length"/>.
    /// </param>
    public static RotaryEmbedding Create(ModelConfig config, int length, Device? device = null, int? textLength = null)
    {
        if (length < 1)
            throw new ShapeException($"Cannot make positions for {length} tokens. At least one token is needed.");
        var (inverse, factor) = RopeScaling.ComputeFrequencies(config, textLength ?? length);
        using var scope = NewDisposeScope();
        var half = inverse.Length;
        Tensor cos = empty(length, 1, half),
            sin = empty(length, 1, half);
        Fill(cos, sin, inverse, factor, length);
        return new(cos.to(device ?? CPU).DetachFromDisposeScope(), sin.to(device ?? CPU).DetachFromDisposeScope());
    }

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
    public RotaryEmbedding Narrow(long start, long count) => new(_cos.narrow(-3, start, count), _sin.narrow(-3, start, count));

    /// <summary>
    /// The same tables in a layout that rotates heads outside autograd with few calls. Use it for single tokens, where the calls take most
    /// of the time. The new tensors live as long as the surrounding dispose scope.
    /// </summary>
    internal RotaryEmbedding ForFewTokens(ScalarType type)
    {
        var (cos, sin) = (_cos.In(type), _sin.In(type));
        return new(cos, sin) { _bothCos = cat([cos, cos], -1), _bothSin = cat([-sin, sin], -1) };
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
        return new(Pick(_cos), Pick(_sin));
    }

    /// <summary>
    /// Two tables one after the other: position i of the second becomes i + <see cref="Length"/> of the first. They are copies, which the
    /// caller disposes.
    /// </summary>
    public static RotaryEmbedding Join(RotaryEmbedding first, RotaryEmbedding second) =>
        new(cat([first._cos, second._cos], -3), cat([first._sin, second._sin], -3));

    /// <summary>The tables for one position per row of a batch, so that [B, 1, H, K] heads are rotated each by its own position.</summary>
    /// <param name="positions">B positions.</param>
    public RotaryEmbedding ForRows(IReadOnlyList<int> positions)
    {
        using var rows = tensor(positions.Select(p => (long)p).ToArray(), device: _cos.device);
        Tensor Pick(Tensor table) => table.index_select(0, rows).unsqueeze(1); // [L, 1, K/2] -> [B, 1, 1, K/2]
        return new(Pick(_cos), Pick(_sin));
    }

    /// <summary>Rotates each head by the angle of its position: (a, b) becomes (a cos - b sin, b cos + a sin).</summary>
    /// <param name="heads">[B, L, H, K] of any floating-point type.</param>
    /// <returns>[B, L, H, K] of the same type, contiguous.</returns>
    public Tensor Rotate(Tensor heads)
    {
        if (ReferenceEquals(this, None))
            return heads.contiguous();
        using var scope = NewDisposeScope();
        if (_bothCos is not null && heads.size(3) == _bothCos.size(-1))
            // Same bits: -x sin is exact.
            return (heads * _bothCos).add_(heads.roll(_cos.size(-1), -1).mul_(_bothSin!), Scalars.One).MoveToOuterDisposeScope();
        var (a, b, rest, cos, sin) = Split(heads);
        return cat([(a * cos).sub_(b * sin), (b * cos).add_(a * sin, Scalars.One), .. rest], 3).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The gradient of the input of <see cref="Rotate"/> for the gradient of its output: rotates back by the same angles.
    /// </summary>
    /// <param name="gradient">[B, L, H, K].</param>
    /// <returns>[B, L, H, K], contiguous.</returns>
    public Tensor RotateBack(Tensor gradient)
    {
        using var scope = NewDisposeScope();
        var (a, b, rest, cos, sin) = Split(gradient);
        return cat([(a * cos).add_(b * sin, Scalars.One), (b * cos).sub_(a * sin), .. rest], 3).MoveToOuterDisposeScope();
    }

    private (Tensor A, Tensor B, Tensor[] Still, Tensor Cos, Tensor Sin) Split(Tensor heads)
    {
        long half = _cos.size(-1),
            size = heads.size(3);
        Tensor[] rest = size > 2 * half ? [heads.narrow(3, 2 * half, size - 2 * half)] : [];
        return (heads.narrow(3, 0, half), heads.narrow(3, half, half), rest, _cos.In(heads.dtype), _sin.In(heads.dtype));
    }

    // Fills the tensors directly: for a million positions managed arrays would take as much memory again.
    private static unsafe void Fill(Tensor cos, Tensor sin, double[] inverse, double factor, int length)
    {
        nint cosAt = NativeTensor.GetPointer(cos),
            sinAt = NativeTensor.GetPointer(sin);
        Parallel.For(0, length, position =>
        {
            var row = (long)position * inverse.Length;
            for (var i = 0; i < inverse.Length; i++)
            {
                var (s, c) = Math.SinCos(position * inverse[i]);
                ((float*)cosAt)[row + i] = (float)(c * factor);
                ((float*)sinAt)[row + i] = (float)(s * factor);
            }
        });
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cos.Dispose();
        _sin.Dispose();
    }
}
