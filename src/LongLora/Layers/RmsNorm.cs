using System.Numerics;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// y = w · x / sqrt(mean(x²) + ε), or (1 + w) · x / sqrt(mean(x²) + ε), over the last dimension (arXiv 1910.07467), computed in fp32
/// for any type of x.
/// </summary>
/// <param name="weight">w [D].</param>
/// <param name="epsilon">ε.</param>
/// <param name="isOffset">Whether the scale is 1 + w (Gemma).</param>
internal sealed class RmsNorm(Weight weight, double epsilon, bool isOffset = false) : INormLayer
{
    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights { get; } = [weight];

    /// <inheritdoc/>
    public Tensor Forward(Tensor input)
    {
        if (SmallWork.Fits(input))
            return ForwardSmall(input);
        using var scope = NewDisposeScope();
        var wide = input.In(ScalarType.Float32);
        var scale = (wide * wide).mean([-1], keepdim: true).add_(Scalars.Of(epsilon), Scalars.One).rsqrt_();
        var factor = weight.Value.In(ScalarType.Float32);
        if (isOffset)
            factor = factor.add(Scalars.One, Scalars.One);
        return (wide * scale).mul(factor).In(input.dtype).MoveToOuterDisposeScope();
    }

    [ThreadStatic]
    private static PinnedBuffer? s_weights;

    // The same in one loop.
    private unsafe Tensor ForwardSmall(Tensor input)
    {
        var (size, output) = (input.size(-1), empty_like(input));
        float* x = (float*)NativeTensor.GetPointer(input),
            y = (float*)NativeTensor.GetPointer(output);
        var weights = StoredNumbers.Read(
            weight.Value.dtype,
            NativeTensor.GetPointer(weight.Value),
            size,
            1,
            (s_weights ??= new()).Get(size)
        );
        var more = isOffset ? 1f : 0f;
        for (var end = x + input.numel(); x < end; x += size, y += size)
        {
            var squares = StoredNumbers.Dot<StoredNumbers.Fp32, float>(x, x, size);
            var scale = 1 / MathF.Sqrt(squares / size + (float)epsilon);
            var (i, width) = (0L, Vector<float>.Count);
            for (; i + width <= size; i += width)
                (Vector.Load(x + i) * scale * (Vector.Load(weights + i) + new Vector<float>(more))).Store(y + i);
            for (; i < size; i++)
                y[i] = x[i] * scale * (weights[i] + more);
        }
        return output;
    }
}
