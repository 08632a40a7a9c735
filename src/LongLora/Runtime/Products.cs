using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runtime;

// N rows, I inputs, O outputs

/// <summary>
/// Matrix products in the type of their operands, differentiable. Sums are in fp32 in any case. A processor without instructions for bf16
/// computes such a product up to 30 times as slowly as one in fp32, so there the operands are widened and the result is rounded.
/// </summary>
internal static class Products
{
    /// <summary>x Wᵀ + b: [N, I] -> [N, O].</summary>
    /// <param name="rows">x [N, I].</param>
    /// <param name="weight">W [O, I], of any type; rounded to that of x.</param>
    /// <param name="bias">b [O], of any type; null for none.</param>
    public static Tensor Linear(Tensor rows, Tensor weight, Tensor? bias = null)
    {
        var (used, added) = (weight.In(rows.dtype), bias?.In(rows.dtype));
        if (IsWidened(rows))
            return nn.functional.linear(Widen(rows), Widen(used), added is null ? null : Widen(added)).to(rows.dtype);
        return added is null && NarrowProduct.Takes(rows, used.size(0)) && HostLoop.TakesInPlace(used)
            ? NarrowProduct.Multiply(rows, used.t())
            : LinearInBlocks(rows, used, added) ?? nn.functional.linear(rows, used, added);
    }

    /// <summary>Writes x Wᵀ into a matrix, with the bits of <see cref="Linear"/>; false if it cannot, and nothing is written.</summary>
    /// <param name="rows">x [N, I].</param>
    /// <param name="weight">W [O, I].</param>
    /// <param name="result">[N, O].</param>
    public static bool TryLinearInto(Tensor rows, Tensor weight, Tensor result)
    {
        if (weight.dtype != rows.dtype || IsWidened(rows) || NarrowProduct.Takes(rows, weight.size(0)))
            return false;
        using var transposed = weight.detach().t();
        if (!BlockProduct.Takes(rows, transposed))
            result.addmm_(rows, transposed, 0, 1);
        else if (BlockProduct.Fits(result))
            BlockProduct.MultiplyInto(result, rows, transposed);
        else
            return false;
        return true;
    }

    /// <summary>a b, for matrices of one type.</summary>
    public static Tensor Times(this Tensor a, Tensor b) =>
        IsWidened(a) ? Widen(a).mm(Widen(b)).to(a.dtype)
        : NarrowProduct.Takes(a, b.size(1)) && HostLoop.TakesInPlace(b) ? NarrowProduct.Multiply(a, b)
        : BlockProduct.Takes(a, b) ? BlockProduct.Multiply(a, b)
        : a.mm(b);

    /// <summary>Writes a b into a matrix, for matrices of one type.</summary>
    public static void WriteTimes(Tensor target, Tensor a, Tensor b)
    {
        if (IsWidened(a))
            target.copy_(a.Times(b));
        else if (BlockProduct.Takes(a, b) && BlockProduct.Fits(target))
            BlockProduct.MultiplyInto(target, a, b);
        else
            target.addmm_(a, b, 0, 1); // with a factor of 0 the old content is not read
    }

    /// <summary>target += scale a b in place, for matrices of one type.</summary>
    public static void AddTimes(this Tensor target, Tensor a, Tensor b, double scale)
    {
        using var scope = NewDisposeScope();
        if (IsWidened(a))
            target.add_(Widen(a).mm(Widen(b)), Scalars.Of(scale));
        else if (NarrowProduct.Takes(a.t(), b.size(1)) && HostLoop.TakesInPlace(b) && HostLoop.TakesInPlace(target))
            NarrowProduct.AddTransposed(target, a.t(), b, scale);
        else if (NarrowProduct.Takes(b, a.size(0)) && HostLoop.TakesInPlace(a) && HostLoop.TakesInPlace(target))
            NarrowProduct.AddTransposed(target.t(), b, a.t(), scale);
        else if (BlockProduct.Takes(a, b) && BlockProduct.Fits(target))
            BlockProduct.MultiplyInto(target, a, b, (float)scale, adds: true);
        else
            target.addmm_(a, b, 1, (float)scale);
    }

    private static Tensor? LinearInBlocks(Tensor rows, Tensor weight, Tensor? bias)
    {
        using var transposed = weight.detach().t();
        if (!BlockProduct.Takes(rows, transposed) || (is_grad_enabled() && (weight.requires_grad || bias?.requires_grad == true)))
            return null;
        var product = BlockProduct.Multiply(rows, transposed);
        return bias is null ? product : product.add_(bias, Scalars.One);
    }

    /// <summary>Whether products with a tensor are computed in fp32.</summary>
    internal static bool IsWidened(Tensor operand) =>
        operand.dtype == ScalarType.BFloat16 && operand.device_type == DeviceType.CPU && !Processor.MultipliesBf16;

    private static Tensor Widen(Tensor operand) => operand.to(ScalarType.Float32);
}
