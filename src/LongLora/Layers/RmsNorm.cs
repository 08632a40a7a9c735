using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

// D numbers in a row

/// <summary>
/// y = w · x / sqrt(mean(x²) + ε), or (1 + w) · x / sqrt(mean(x²) + ε), over the last dimension (arXiv 1910.07467), computed in fp32
/// for any type of x.
/// </summary>
/// <param name="weight">w [D]; null for ones.</param>
/// <param name="epsilon">ε.</param>
/// <param name="isOffset">Whether the scale is 1 + w (Gemma).</param>
internal sealed class RmsNorm(Weight? weight, double epsilon, bool isOffset = false) : INormLayer
{
    [ThreadStatic]
    private static PinnedBuffer? s_scales;

    /// <inheritdoc/>
    public IReadOnlyList<Weight> Weights { get; } = weight is null ? [] : [weight];

    /// <inheritdoc/>
    public unsafe Tensor Forward(Tensor input)
    {
        if (!IsLoop(input))
            return Compute(input);
        var rows = HostLoop.Lay(input);
        var (output, size) = (empty_like(rows), rows.size(-1));
        var (x, y) = (new RowsAt(rows), new RowsAt(output));
        var scales = ReadScales(size);
        HostLoop.ForRows(rows.numel() / size, size, (first, count) => RmsRows.Normalize(x, scales, epsilon, y, first, count, size));
        GC.KeepAlive(rows);
        return output;
    }

    /// <inheritdoc/>
    public unsafe Tensor Backward(Tensor input, Tensor gradient)
    {
        using var noGradient = no_grad();
        if (!IsLoop(input) || !HostLoop.Takes(gradient))
            return INormLayer.BackwardByAutograd(this, input, gradient);
        using var scope = NewDisposeScope();
        var (rows, outer) = (HostLoop.Lay(input), HostLoop.Lay(gradient));
        var (inner, size) = (empty_like(rows), rows.size(-1));
        var count = rows.numel() / size;
        var (x, g, result) = (new RowsAt(rows), new RowsAt(outer), new RowsAt(inner));
        var scales = ReadScales(size);
        if (weight is not { IsTrained: true })
            HostLoop.ForRows(count, size, (first, some) => RmsRows.Differentiate(x, g, scales, epsilon, result, null, first, some, size));
        else
        {
            // Sums of a fixed number of rows, so the gradient does not depend on the number of threads.
            var pieces = (count + RmsRows.PerSum - 1) / RmsRows.PerSum;
            var sums = zeros([pieces, size], ScalarType.Float32);
            var sumsAt = (float*)NativeTensor.GetPointer(sums);
            HostLoop.ForRows(pieces, size * RmsRows.PerSum, (firstPiece, somePieces) =>
            {
                for (var piece = firstPiece; piece < firstPiece + somePieces; piece++)
                {
                    var (first, some) = (piece * RmsRows.PerSum, Math.Min(RmsRows.PerSum, count - piece * RmsRows.PerSum));
                    RmsRows.Differentiate(x, g, scales, epsilon, result, sumsAt + piece * size, first, some, size);
                }
            });
            weight.GetGradient().add_(sums.sum(0, type: ScalarType.Float32), Scalars.One);
        }
        GC.KeepAlive(rows);
        GC.KeepAlive(outer);
        return inner.MoveToOuterDisposeScope();
    }

    private bool IsLoop(Tensor input) => HostLoop.Takes(input) && !(weight is { IsTrained: true } && is_grad_enabled());

    private Tensor Compute(Tensor input)
    {
        using var scope = NewDisposeScope();
        var wide = input.In(ScalarType.Float32);
        var scale = (wide * wide).mean([-1], keepdim: true).add_(Scalars.Of(epsilon), Scalars.One).rsqrt_();
        var output = wide * scale;
        if (weight is not null)
        {
            var factor = weight.Value.In(ScalarType.Float32);
            output = output.mul(isOffset ? factor.add(Scalars.One, Scalars.One) : factor);
        }
        return output.In(input.dtype).MoveToOuterDisposeScope();
    }

    // What rows are multiplied by, until this thread calls again.
    private unsafe float* ReadScales(long size)
    {
        var copy = (s_scales ??= new()).Get(size);
        if (weight is null)
            new Span<float>(copy, (int)size).Fill(1);
        else
        {
            var stored = StoredNumbers.Read(weight.Value.dtype, NativeTensor.GetPointer(weight.Value), size, 1, copy);
            if (!isOffset)
                return stored;
            for (var i = 0L; i < size; i++)
                copy[i] = stored[i] + 1;
        }
        return copy;
    }
}
