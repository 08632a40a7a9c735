using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>Where a model that is being built gets its weights.</summary>
internal abstract class WeightSource
{
    /// <summary>The tensor with that name and shape. <paramref name="role"/> decides the initial values of a new model.</summary>
    public abstract Tensor Take(string name, WeightRole role, params long[] shape);

    /// <summary>A number of the architecture, of which a new model has <paramref name="initial"/>.</summary>
    public virtual Tensor TakeConstant(string name, double initial, params long[] shape) => Take(name, WeightRole.Scale, shape);

    /// <summary>Lets <paramref name="use"/> read a tensor once that is not kept in this form.</summary>
    public virtual void Visit(string name, WeightRole role, Action<Tensor> use, params long[] shape)
    {
        using var value = Take(name, role, shape);
        use(value);
    }

    /// <summary>Called when the model is complete. A source with unused tensors reports an error.</summary>
    public virtual void Finish() { }
}
