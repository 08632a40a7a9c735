using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>Where the weights of a model that is being built come from.</summary>
public abstract class WeightSource
{
    /// <summary>A tensor of that name and shape. <paramref name="role"/> tells a new model how to begin.</summary>
    public abstract Tensor Take(string name, WeightRole role, params long[] shape);

    /// <summary>A number of the architecture, of which a new model has <paramref name="initial"/>.</summary>
    public virtual Tensor TakeConstant(string name, double initial, params long[] shape) => Take(name, WeightRole.Scale, shape);

    /// <summary>Lets <paramref name="use"/> read such a tensor once, where it is not kept in this form.</summary>
    public virtual void Visit(string name, WeightRole role, Action<Tensor> use, params long[] shape)
    {
        using var value = Take(name, role, shape);
        use(value);
    }

    /// <summary>Called once the model is whole: a source of which something was left over complains.</summary>
    public virtual void Finish() { }
}
