using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// One of the tensors that hold a weight, in the type in which it is stored. Where ranks divide it (<see cref="DividedMatrices"/>), it is
/// here only while it is lent.
/// </summary>
/// <param name="name">What it is, for messages.</param>
/// <param name="value">The tensor, which belongs to this object from now on.</param>
internal sealed class StoredTensor(string name, Tensor value) : IDisposable
{
    private Tensor? _value = value.DetachFromDisposeScope();

    /// <summary>Its dimensions, outermost first.</summary>
    public IReadOnlyList<long> Shape { get; private set; } = value.shape;

    /// <summary>The type of its elements.</summary>
    public ScalarType Type { get; private set; } = value.dtype;

    /// <summary>Number of elements.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>Bytes of the whole.</summary>
    public long ByteCount => ElementCount * Type.ElementSize();

    /// <summary>Whether this rank has only a part of it, and the whole only for some time.</summary>
    public bool IsDivided { get; private set; }

    /// <summary>Whether the whole is here.</summary>
    public bool IsHere => _value is not null;

    /// <summary>The tensor. Do not dispose it.</summary>
    /// <exception cref="InvalidOperationException">The ranks have not gathered it, which is a fault of the program.</exception>
    public Tensor Value =>
        _value ?? throw new InvalidOperationException($"{name} is divided among ranks, and the parts of the others are not here now.");

    /// <summary>Takes another tensor in the place of the old one, which is disposed.</summary>
    public void Replace(Tensor replacement)
    {
        _value?.Dispose();
        _value = replacement.DetachFromDisposeScope();
        (Shape, Type) = (replacement.shape, replacement.dtype);
    }

    /// <summary>Keeps a part of the elements, in order, as a tensor of its own, and has the whole no longer.</summary>
    /// <param name="start">First element.</param>
    /// <param name="count">Elements.</param>
    /// <returns>[count]; the caller disposes it.</returns>
    public Tensor Divide(long start, long count)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var part = HostMemory.AllocateApart(() => Value.detach().reshape(-1).narrow(0, start, count).clone());
        IsDivided = true;
        Withdraw();
        return part.DetachFromDisposeScope();
    }

    /// <summary>Says that the parts are held in another type from now on.</summary>
    public void ChangeType(ScalarType type)
    {
        Withdraw();
        Type = type;
    }

    /// <summary>The whole is here no longer.</summary>
    public void Withdraw()
    {
        _value?.Dispose();
        _value = null;
    }

    /// <inheritdoc/>
    public void Dispose() => _value?.Dispose();
}
