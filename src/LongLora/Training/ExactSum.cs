using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// The sum of the gradients of many micro-batches as whole numbers, in units of 2^-52. Sums of whole numbers have no order, so the result
/// depends neither on how many ranks share the work nor on how they add.
/// </summary>
/// <remarks>
/// A gradient is rounded by at most 2^-53, far below AdamW's epsilon. It costs 8 bytes and some operations per trained weight.
/// </remarks>
internal sealed class ExactSum : IDisposable
{
    private const int Bits = 52;

    // Elements that are converted together, so that it takes little memory.
    private const long PieceElements = 1 << 22;

    private static readonly double s_unit = Math.ScaleB(1, -Bits);

    /// <summary>Begins at zero.</summary>
    /// <param name="like">[n], as the gradients.</param>
    internal ExactSum(Tensor like)
    {
        using var scope = NewDisposeScope();
        Total = zeros_like(like, ScalarType.Int64).DetachFromDisposeScope();
    }

    /// <summary>The sum, [n] int64, in units of 2^-52.</summary>
    internal Tensor Total { get; }

    /// <summary>The largest gradient, without it, that may be added <paramref name="times"/> times: 2^10 in all.</summary>
    internal static double Limit(int times) => 1024.0 / times;

    /// <summary>Adds gradients and clears them.</summary>
    /// <param name="gradients">[n] fp32.</param>
    /// <param name="limit">Gradients from here on, infinite ones and NaN are not added.</param>
    /// <returns>Whether all were below it.</returns>
    internal bool Add(Tensor gradients, double limit)
    {
        using var noGradient = no_grad();
        var isSound = true;
        for (long start = 0; start < gradients.numel() && isSound; start += PieceElements)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(PieceElements, gradients.numel() - start);
            var piece = gradients.narrow(0, start, count);
            isSound = IsBelow(piece, limit);
            if (isSound)
                Total.narrow(0, start, count).add_(Round(piece), Scalars.One);
            Liveness.Tick();
        }
        gradients.zero_();
        return isSound;
    }

    /// <summary>Whether all gradients are finite and below a limit.</summary>
    internal static bool IsBelow(Tensor gradients, double limit) => gradients.abs().max().item<float>() < limit; // false for NaN

    /// <summary>Gradients in units of 2^-52, int64.</summary>
    internal static Tensor Round(Tensor gradients) => gradients.mul(Scalars.Of(1 / s_unit)).round_().to(ScalarType.Int64);

    /// <summary>Replaces the gradients by the sum, which begins again at zero.</summary>
    internal void MoveTo(Tensor gradients)
    {
        using var noGradient = no_grad();
        for (long start = 0; start < gradients.numel(); start += PieceElements)
        {
            using var scope = NewDisposeScope();
            var count = Math.Min(PieceElements, gradients.numel() - start);
            var total = Total.narrow(0, start, count);
            gradients.narrow(0, start, count).copy_(total.to(ScalarType.Float64).mul_(Scalars.Of(s_unit)));
            total.zero_();
        }
    }

    /// <summary>Forgets what was added.</summary>
    internal void Clear() => Total.zero_();

    public void Dispose() => Total.Dispose();
}
