using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// One named tensor of a model or an adapter, in its stored type. Its value may be replaced (trained weights become views of one flat
/// buffer; a merge writes a new value). Its name never changes, and its shape changes only with the vocabulary.
/// </summary>
/// <param name="name">Its Hugging Face state-dict name, such as <c>model.norm.weight</c>.</param>
/// <param name="value">The tensor; the weight owns it from now on.</param>
public sealed class Weight(string name, Tensor value) : IDisposable
{
    /// <summary>Its Hugging Face state-dict name, such as <c>model.norm.weight</c>.</summary>
    public string Name { get; } = name;

    /// <summary>The tensor, or what stands for it while ranks divide it.</summary>
    internal StoredTensor Stored { get; } = new(name, value);

    /// <summary>Its dimensions, outermost first.</summary>
    public IReadOnlyList<long> Shape => Stored.Shape;

    /// <summary>The tensor. Owned by the weight: do not dispose it.</summary>
    public Tensor Value => Stored.Value;

    /// <summary>Whether it is a number of the architecture that a checkpoint holds beside the weights, and that nobody trains.</summary>
    public bool IsConstant { get; init; }

    /// <summary>Whether it collects gradients.</summary>
    public bool IsTrained => !Stored.IsDivided && Value.requires_grad;

    /// <summary>Number of elements.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>Replaces the tensor with another one of the same shape and disposes the old one.</summary>
    public void Replace(Tensor replacement)
    {
        if (!replacement.shape.SequenceEqual(Shape))
            throw new Runtime.ShapeException(
                $"Cannot replace {Name} of shape [{string.Join(", ", Shape)}] with a tensor of shape "
                    + $"[{string.Join(", ", replacement.shape)}]."
            );
        Stored.Replace(replacement);
    }

    /// <summary>Replaces a table of the vocabulary with one that has more rows.</summary>
    internal void ReplaceRows(Tensor replacement) => Stored.Replace(replacement);

    /// <summary>
    /// The tensor that gradients are added to. It is made on first use, unless training has set a view of its own buffer. The caller
    /// disposes the wrapper.
    /// </summary>
    public Tensor GetGradient()
    {
        if (Value.grad is { } present)
            return present;
        using var zeros = zeros_like(Value);
        Value.grad = zeros;
        return Value.grad!;
    }

    /// <inheritdoc/>
    public void Dispose() => Stored.Dispose();
}
