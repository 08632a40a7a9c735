using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>A matrix in its stored type, converted to the type of the input when it is used.</summary>
/// <param name="weight">W [O, I].</param>
/// <param name="bias">b [O], or null.</param>
internal sealed class DenseProjection(Weight weight, Weight? bias = null) : IProjection
{
    /// <summary>W [O, I].</summary>
    public Weight Weight { get; } = weight;

    /// <summary>b [O], or null.</summary>
    public Weight? Bias { get; } = bias;

    /// <inheritdoc/>
    public bool IsTrained => Weight.IsTrained || Bias is { IsTrained: true };

    /// <inheritdoc/>
    public IReadOnlyList<StoredTensor> Stored => [Weight.Stored];

    // W in the type of products, for as long as it does not change.
    private Tensor? _prepared;

    /// <summary>Converts W once for many products, until <see cref="Forget"/>. W must not change meanwhile.</summary>
    /// <param name="type">The type of their rows.</param>
    internal void Prepare(ScalarType type)
    {
        Forget();
        _prepared = HostMemory.AllocateApart(() => Weight.Value.detach().to(type)).DetachFromDisposeScope();
    }

    /// <summary>Frees what <see cref="Prepare"/> made.</summary>
    internal void Forget()
    {
        _prepared?.Dispose();
        _prepared = null;
    }

    // W as its file stores it, and the values that it was read into.
    private (IProjection Matrix, Tensor Value, long Version)? _stored;

    /// <summary>Computes products of one row with W as its file stores it, which is smaller, for as long as W is what was read.</summary>
    /// <param name="matrix">The same numbers, without a bias.</param>
    internal void KeepStored(IProjection matrix) => _stored = (matrix, Weight.Value, Dispatcher.GetVersion(Weight.Value));

    /// <summary>Whether products of one row read W as its file stores it.</summary>
    internal bool IsReadAsStored => FindStored() is not null;

    private IProjection? FindStored() =>
        _stored is var (matrix, value, version)
        && ReferenceEquals(value, Weight.Value)
        && !Weight.IsTrained
        && Dispatcher.GetVersion(value) == version
            ? matrix
            : null;

    // A graph that leads to trained values needs these themselves.
    private Tensor Choose(ScalarType type) =>
        _prepared is { } prepared && prepared.dtype == type && !(Weight.IsTrained && is_grad_enabled()) ? prepared : Weight.Value;

    /// <inheritdoc/>
    public Tensor Forward(Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var product =
            !RowProduct.Takes(rows) ? null
            : rows.size(0) == 1 && FindStored() is { } stored ? stored.Forward(rows, outputs)
            : RowProduct.Multiply(rows, outputs.Of(Weight.Value, 0));
        if (product is not null)
            return (Bias is null ? product : product.add_(outputs.Of(Bias.Value, 0), Scalars.One)).MoveToOuterDisposeScope();
        return Products
            .Linear(rows, outputs.Of(Choose(rows.dtype), 0), Bias is null ? null : outputs.Of(Bias.Value, 0))
            .MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public bool TryForwardInto(Tensor rows, Tensor result) =>
        Bias is null && !RowProduct.Takes(rows) && Products.TryLinearInto(rows, Choose(rows.dtype), result);

    /// <inheritdoc/>
    public RowProduct.OutputWriter? FindRowWriter(FeatureSlice? outputs)
    {
        if (FindStored() is { } stored)
            return stored.FindRowWriter(outputs);
        var value = Weight.Value;
        if (value.device_type != DeviceType.CPU || !value.is_contiguous())
            return null;
        var inputs = Weight.Shape[1];
        var (start, count) = outputs is { } o ? (o.Start, o.Count) : (0, Weight.Shape[0]);
        var matrix = NativeTensor.GetAddress(value) + (nint)(start * inputs * value.dtype.ElementSize());
        return RowProduct.FindWriter(value.dtype, matrix, [1, inputs], count);
    }

    /// <inheritdoc/>
    public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        if (Weight.IsTrained)
            AddProduct(outputs.Of(Weight.GetGradient(), 0), gradient.t(), rows, 1);
        if (Bias is { IsTrained: true })
            outputs.Of(Bias.GetGradient(), 0).add_(gradient.sum(0, type: ScalarType.Float32), Scalars.One);
    }

    /// <inheritdoc/>
    public Tensor ComputeInputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var used = outputs.Of(inputs.Of(Choose(gradient.dtype), 1), 0);
        return gradient.Times(used.In(gradient.dtype)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor ToDense() => Weight.Value.detach().to(ScalarType.Float32, copy: true);

    /// <summary>target += scale * a b, in place, for an fp32 target and factors of any type.</summary>
    internal static void AddProduct(Tensor target, Tensor a, Tensor b, double scale)
    {
        if (a.dtype == target.dtype)
            target.AddTimes(a, b, scale);
        else
            target.AddScaled(a.Times(b), scale);
    }
}
