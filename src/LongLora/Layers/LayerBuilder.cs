using LongLora.Checkpoints;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>Where the weights of a model that is being built come from.</summary>
public abstract class WeightSource
{
    /// <summary>A tensor of that name and shape. <paramref name="role"/> tells a new model how to begin.</summary>
    public abstract Tensor Take(string name, WeightRole role, params long[] shape);

    /// <summary>Lets <paramref name="use"/> read such a tensor once, where it is not kept in this form.</summary>
    public virtual void Visit(string name, WeightRole role, Action<Tensor> use, params long[] shape)
    {
        using var value = Take(name, role, shape);
        use(value);
    }

    /// <summary>Called once the model is whole: a source of which something was left over complains.</summary>
    public virtual void Finish() { }
}

/// <summary>What a weight is, as far as its first value goes.</summary>
public enum WeightRole
{
    /// <summary>A matrix: normal with the config's standard deviation.</summary>
    Matrix,

    /// <summary>A norm's scale: ones.</summary>
    Scale,

    /// <summary>A bias: zeros.</summary>
    Bias,
}

/// <summary>
/// Weights of a checkpoint: mapped, not copied, on the CPU; copied to any other device. Shapes, names and values are checked.
/// </summary>
/// <param name="source">The files; they must stay open as long as the model.</param>
/// <param name="device">Where the model lives.</param>
/// <param name="ignored">Stored tensors that the model does not need, such as old rotary tables.</param>
public sealed class CheckpointWeights(ITensorSource source, Device device, Predicate<string>? ignored = null) : WeightSource
{
    private readonly HashSet<string> _taken = [];

    /// <inheritdoc/>
    public override Tensor Take(string name, WeightRole role, params long[] shape)
    {
        var info = Check(name, shape);
        var value = source.Open(name);
        TensorNumbers.RequireFinite(value, info);
        return Move(value);
    }

    /// <inheritdoc/>
    public override void Visit(string name, WeightRole role, Action<Tensor> use, params long[] shape)
    {
        var info = Check(name, shape);
        source.Visit(name, value =>
        {
            TensorNumbers.RequireFinite(value, info);
            use(value);
        });
    }

    /// <summary>What the files say of a tensor; null where they have none of that name.</summary>
    public TensorInfo? Find(string name) => source.Tensors.GetValueOrDefault(name);

    /// <summary>A tensor that is no plain weight, such as the codes of a quantised one, of exactly that type and shape.</summary>
    public Tensor TakeStored(string name, ScalarType type, params long[] shape)
    {
        var info = Find(name)
            ?? throw new CheckpointException(
                $"The checkpoint has no tensor '{name}', which belongs to a quantised weight that it has. Fetch the files again."
            );
        if (info.Type != type || !info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{name}' is {info.Type} [{string.Join(", ", info.Shape)}]; {type} [{string.Join(", ", shape)}] is needed."
            );
        _taken.Add(name);
        var value = source.Open(name);
        if (type == ScalarType.Float32)
            TensorNumbers.RequireFinite(value, info);
        return Move(value);
    }

    private TensorInfo Check(string name, long[] shape)
    {
        if (!source.Tensors.TryGetValue(name, out var info))
            throw new CheckpointException(
                $"The checkpoint has no tensor '{name}' of shape [{string.Join(", ", shape)}], which config.json asks for. "
                    + $"{TensorNames.Advice(source.Tensors.Keys)}"
            );
        if (!info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{name}' is [{string.Join(", ", info.Shape)}], but config.json asks for [{string.Join(", ", shape)}]."
            );
        if (info.Type is not (ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float64))
            throw new CheckpointException($"{info.File}: '{name}' is of type {info.Type}; weights must be F32, F16, BF16 or F64.");
        _taken.Add(name);
        return info;
    }

    private Tensor Move(Tensor value)
    {
        if (device.type == DeviceType.CPU)
            return value;
        using (value)
            return value.to(device);
    }

    /// <inheritdoc/>
    public override void Finish()
    {
        var left = source.Tensors.Values.Where(t => !_taken.Contains(t.Name) && ignored?.Invoke(t.Name) != true).ToList();
        if (left.Count > 0)
        {
            throw new CheckpointException(
                $"{left[0].File}: '{left[0].Name}' [{string.Join(", ", left[0].Shape)}] belongs to no part of the model that "
                    + $"config.json describes{(left.Count > 1 ? $", nor do {left.Count - 1} other tensors" : "")}."
            );
        }
    }
}

/// <summary>Names and shapes without memory: what a config means, for any size.</summary>
public sealed class MetaWeights : WeightSource
{
    /// <inheritdoc/>
    public override Tensor Take(string name, WeightRole role, params long[] shape) => empty(shape, ScalarType.Float32, META);
}

/// <summary>A new model: matrices from a normal distribution, scales one, biases zero; the same for the same seed.</summary>
/// <param name="deviation">Standard deviation of the matrices.</param>
/// <param name="seed">Seed.</param>
/// <param name="device">Where the model lives; the numbers are drawn on the CPU.</param>
/// <param name="type">Type of the weights.</param>
public sealed class RandomWeights(double deviation, long seed, Device device, ScalarType type = ScalarType.Float32) : WeightSource
{
    private long _taken;

    /// <inheritdoc/>
    public override Tensor Take(string name, WeightRole role, params long[] shape)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator((ulong)(seed * 1_000_003 + _taken++), CPU);
        var value = role switch
        {
            WeightRole.Scale => ones(shape),
            WeightRole.Bias => zeros(shape),
            _ => randn(shape, generator: generator).mul_(Scalars.Of(deviation)),
        };
        return value.to(type).to(device).MoveToOuterDisposeScope();
    }
}

/// <summary>Makes matrices of a model in another form than dense ones.</summary>
public interface IProjectionSource
{
    /// <summary>The matrix of a linear layer; null to have it dense.</summary>
    /// <param name="source">Gives the weights.</param>
    /// <param name="name">Module name without <c>.weight</c>.</param>
    /// <param name="outputs">O.</param>
    /// <param name="inputs">I.</param>
    /// <param name="bias">Makes b [O], or gives null where the layer has none; to be called once.</param>
    IProjection? Make(WeightSource source, string name, long outputs, long inputs, Func<Weight?> bias);
}

/// <summary>
/// Makes the layers of a model under their full state-dict names and keeps the list of them. Names stand where a layer is made; there is no
/// map from other names.
/// </summary>
/// <param name="source">Where the weights come from.</param>
/// <param name="projections">Makes the matrices of the decoder blocks where they are not dense; null for dense ones.</param>
public sealed class LayerBuilder(WeightSource source, IProjectionSource? projections = null) : IDisposable
{
    private readonly List<Weight> _weights = [];
    private readonly List<LinearLayer> _linears = [];
    private readonly List<INormLayer> _norms = [];

    /// <summary>All weights in the order of their making.</summary>
    public IReadOnlyList<Weight> Weights => _weights;

    /// <summary>All linear layers, a tied head not among them.</summary>
    public IReadOnlyList<LinearLayer> Linears => _linears;

    /// <summary>All norms.</summary>
    public IReadOnlyList<INormLayer> Norms => _norms;

    /// <summary>A linear layer <c>name.weight</c> [outputs, inputs] and, if so, <c>name.bias</c>.</summary>
    public LinearLayer Linear(string name, long inputs, long outputs, bool bias = false) =>
        Linear(name, inputs, outputs, bias, projections);

    /// <summary>The output head: its own layer, or the embedding matrix where <paramref name="tied"/>.</summary>
    public LinearLayer Head(string name, EmbeddingLayer embedding, bool tied)
    {
        long vocabulary = embedding.Weight.Shape[0],
            size = embedding.Weight.Shape[1];
        return tied
            ? new LinearLayer(name, size, vocabulary, new DenseProjection(embedding.Weight))
            : Linear(name, size, vocabulary, false, null);
    }

    /// <summary>A token table <c>name.weight</c> [vocabulary, size].</summary>
    public EmbeddingLayer Embedding(string name, long vocabulary, long size) =>
        new(Add(name + ".weight", WeightRole.Matrix, vocabulary, size));

    /// <summary>An RMSNorm <c>name.weight</c> [size].</summary>
    public INormLayer RmsNorm(string name, long size, double epsilon) =>
        Norm(new RmsNorm(Add(name + ".weight", WeightRole.Scale, size), epsilon));

    /// <summary>A LayerNorm <c>name.weight</c> [size] and <c>name.bias</c> [size].</summary>
    public INormLayer LayerNorm(string name, long size, double epsilon) =>
        Norm(new LayerNorm(Add(name + ".weight", WeightRole.Scale, size), Add(name + ".bias", WeightRole.Bias, size), epsilon));

    /// <summary>Frees all weights and matrices.</summary>
    public void Dispose()
    {
        foreach (var layer in _linears)
            (layer.Projection as IDisposable)?.Dispose();
        foreach (var weight in _weights)
            weight.Dispose();
    }

    private INormLayer Norm(INormLayer norm)
    {
        _norms.Add(norm);
        return norm;
    }

    // The head and the embeddings are never quantised: they are trained, or a small part of a large model.
    private LinearLayer Linear(string name, long inputs, long outputs, bool bias, IProjectionSource? forms)
    {
        Weight? Bias() => bias ? Add(name + ".bias", WeightRole.Bias, outputs) : null;
        var projection = forms?.Make(source, name, outputs, inputs, Bias)
            ?? new DenseProjection(Add(name + ".weight", WeightRole.Matrix, outputs, inputs), Bias());
        var layer = new LinearLayer(name, inputs, outputs, projection);
        _linears.Add(layer);
        return layer;
    }

    private Weight Add(string name, WeightRole role, params long[] shape)
    {
        var weight = new Weight(name, source.Take(name, role, shape));
        _weights.Add(weight);
        return weight;
    }
}
