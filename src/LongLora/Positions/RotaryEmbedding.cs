using LongLora.Checkpoints;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Positions;

// L tokens, H heads, K head size

/// <summary>
/// Cosines and sines of the rotary position embedding (RoFormer, arXiv 2104.09864; Llama's layout, in which dimension i is paired with
/// i + K/2) for one run of positions. Angles are computed in double precision: at position 1,000,000 single precision is off by 0.03 rad.
/// </summary>
public sealed class RotaryEmbedding : IDisposable
{
    private readonly Tensor _cos, _sin;

    private RotaryEmbedding(Tensor cos, Tensor sin) => (_cos, _sin) = (cos, sin);

    /// <summary>Number of positions.</summary>
    public long Length => _cos.size(0);

    /// <summary>Tables for the positions 0 to <paramref name="length"/> - 1.</summary>
    /// <param name="config">Head size, base and scaling.</param>
    /// <param name="length">Number of positions; dynamic and longrope scaling take it as the length of the text.</param>
    /// <param name="device">Where the tables live; they are fp32 everywhere.</param>
    public static RotaryEmbedding Create(ModelConfig config, int length, Device? device = null)
    {
        if (length < 1)
            throw new ShapeException($"Positions for {length} tokens were asked for; at least one is needed.");
        var (inverse, factor) = RopeScaling.Frequencies(config, length);
        var half = inverse.Length;
        float[] cos = new float[(long)length * half], sin = new float[(long)length * half];
        Parallel.For(0, length, position =>
        {
            for (var i = 0; i < half; i++)
            {
                var (s, c) = Math.SinCos(position * inverse[i]);
                cos[(long)position * half + i] = (float)(c * factor);
                sin[(long)position * half + i] = (float)(s * factor);
            }
        });
        using var scope = NewDisposeScope();
        Tensor Table(float[] values) => tensor(values, [length, 1, half], device: device ?? CPU).DetachFromDisposeScope();
        return new(Table(cos), Table(sin));
    }

    /// <summary>Turns each head by the angle of its position: (a, b) becomes (a cos - b sin, b cos + a sin).</summary>
    /// <param name="heads">[B, L, H, K] of any floating-point type.</param>
    /// <returns>[B, L, H, K] of the same type, contiguous.</returns>
    public Tensor Rotate(Tensor heads)
    {
        using var scope = NewDisposeScope();
        var half = heads.size(3) / 2;
        Tensor a = heads.narrow(3, 0, half), b = heads.narrow(3, half, half);
        Tensor cos = _cos.to(heads.dtype), sin = _sin.to(heads.dtype);
        return cat([(a * cos).sub_(b * sin), (b * cos).add_(a * sin)], 3).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cos.Dispose();
        _sin.Dispose();
    }
}
