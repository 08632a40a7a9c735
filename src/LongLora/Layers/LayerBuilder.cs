namespace LongLora.Layers;

/// <summary>
/// Makes the layers of a model under their full state-dict names and keeps a list of them. Each name is written where the layer is made;
/// there is no map from other names.
/// </summary>
/// <param name="source">Where the weights come from.</param>
/// <param name="projections">Makes those matrices of the decoder blocks that are not dense; null if all are dense.</param>
public sealed class LayerBuilder(WeightSource source, IProjectionSource? projections = null) : IDisposable
{
    private readonly List<Weight> _weights = [];
    private readonly List<LinearLayer> _linears = [];
    private readonly List<INormLayer> _norms = [];

    /// <summary>All weights, in the order in which they were made.</summary>
    public IReadOnlyList<Weight> Weights => _weights;

    /// <summary>All linear layers, without a tied head.</summary>
    public IReadOnlyList<LinearLayer> Linears => _linears;

    /// <summary>All norms.</summary>
    public IReadOnlyList<INormLayer> Norms => _norms;

    /// <summary>Adds a linear layer: <c>name.weight</c> [outputs, inputs] and, with <paramref name="bias"/>, <c>name.bias</c>.</summary>
    public LinearLayer AddLinear(string name, long inputs, long outputs, bool bias = false) =>
        AddLinear(name, inputs, outputs, bias, projections);

    /// <summary>Adds the output head: its own layer, or the embedding matrix if <paramref name="tied"/>.</summary>
    public LinearLayer AddHead(string name, EmbeddingLayer embedding, bool tied)
    {
        long vocabulary = embedding.Weight.Shape[0],
            size = embedding.Weight.Shape[1];
        return tied
            ? new LinearLayer(name, size, vocabulary, new DenseProjection(embedding.Weight))
            : AddLinear(name, size, vocabulary, false, null);
    }

    /// <summary>
    /// Gives a tied head a matrix of its own, with the table's present values; it counts among the linear layers from now on.
    /// </summary>
    internal void Untie(LinearLayer head, EmbeddingLayer embedding)
    {
        var own = new Weight(head.Name + ".weight", embedding.Weight.Value.alias());
        head.Projection = new DenseProjection(own);
        _weights.Add(own);
        _linears.Add(head);
    }

    /// <summary>Adds a token table <c>name.weight</c> [vocabulary, size].</summary>
    public EmbeddingLayer AddEmbedding(string name, long vocabulary, long size) =>
        new(Add(name + ".weight", WeightRole.Matrix, vocabulary, size));

    /// <summary>Adds an RMSNorm <c>name.weight</c> [size].</summary>
    public INormLayer AddRmsNorm(string name, long size, double epsilon) =>
        AddNorm(new RmsNorm(Add(name + ".weight", WeightRole.Scale, size), epsilon));

    /// <summary>Adds a LayerNorm <c>name.weight</c> [size] and <c>name.bias</c> [size].</summary>
    public INormLayer AddLayerNorm(string name, long size, double epsilon) =>
        AddNorm(new LayerNorm(Add(name + ".weight", WeightRole.Scale, size), Add(name + ".bias", WeightRole.Bias, size), epsilon));

    /// <summary>Frees all weights and matrices.</summary>
    public void Dispose()
    {
        foreach (var layer in _linears)
            (layer.Projection as IDisposable)?.Dispose();
        foreach (var weight in _weights)
            weight.Dispose();
    }

    private INormLayer AddNorm(INormLayer norm)
    {
        _norms.Add(norm);
        return norm;
    }

    // The head and the embeddings are never quantized: they are trained, or they are a small part of a large model.
    private LinearLayer AddLinear(string name, long inputs, long outputs, bool bias, IProjectionSource? forms)
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
