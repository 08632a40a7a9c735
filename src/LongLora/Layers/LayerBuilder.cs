using LongLora.Runtime;

namespace LongLora.Layers;

/// <summary>
/// Makes the layers of a model under their full state-dict names and keeps a list of them. Each name is written where the layer is made;
/// there is no map from other names.
/// </summary>
/// <param name="source">Where the weights come from.</param>
/// <param name="projections">Makes those matrices of the decoder blocks that are not dense; null if all are dense.</param>
/// <param name="divided">Gets the matrices of the decoder blocks, each as soon as it is made; null if they stay whole.</param>
internal sealed class LayerBuilder(WeightSource source, IProjectionSource? projections = null, DividedMatrices? divided = null)
    : IDisposable
{
    private readonly List<Weight> _weights = [];
    private readonly List<LinearLayer> _linears = [];
    private readonly List<INormLayer> _norms = [];
    private readonly List<ExpertStack> _stacks = [];
    private readonly List<List<LinearLayer>> _blocks = [];
    private int? _block;

    /// <summary>All weights, in the order in which they were made.</summary>
    public IReadOnlyList<Weight> Weights => _weights;

    /// <summary>All linear layers, without a tied head.</summary>
    public IReadOnlyList<LinearLayer> Linears => _linears;

    /// <summary>Those of each decoder block.</summary>
    public IReadOnlyList<IReadOnlyList<LinearLayer>> BlockLinears => _blocks;

    /// <summary>All norms.</summary>
    public IReadOnlyList<INormLayer> Norms => _norms;

    /// <summary>
    /// The matrices of experts that a checkpoint holds in one tensor; each expert's layer is among <see cref="Linears"/>.
    /// </summary>
    public IReadOnlyList<ExpertStack> Stacks => _stacks;

    /// <summary>The matrices that ranks divide; null if all are whole.</summary>
    public DividedMatrices? Divided => divided;

    /// <summary>Makes the decoder blocks, one after the other.</summary>
    /// <param name="count">Number of blocks.</param>
    /// <param name="make">Makes the block of an index with layers of this builder.</param>
    public TBlock[] AddBlocks<TBlock>(int count, Func<int, TBlock> make)
    {
        var blocks = new TBlock[count];
        for (var i = 0; i < count; i++)
        {
            _block = i;
            _blocks.Add([]);
            blocks[i] = make(i);
            HostMemory.TrimIfGrown(); // of what quantizing a block needed
        }
        _block = null;
        return blocks;
    }

    /// <summary>Adds a linear layer: <c>name.weight</c> [outputs, inputs] and, with <paramref name="bias"/>, <c>name.bias</c>.</summary>
    public LinearLayer AddLinear(string name, long inputs, long outputs, bool bias = false) =>
        AddLinear(name, inputs, outputs, bias, projections);

    /// <summary>Adds a linear layer <c>name.weight</c> of one expert, which sees a share of the tokens.</summary>
    public LinearLayer AddLinear(string name, long inputs, long outputs, double share)
    {
        var layer = AddLinear(name, inputs, outputs, false, projections);
        layer.Share = share;
        return layer;
    }

    /// <summary>Adds the output head: its own layer, or the embedding matrix if <paramref name="tied"/>.</summary>
    public LinearLayer AddHead(string name, EmbeddingLayer embedding, bool tied)
    {
        long vocabulary = embedding.Weight.Shape[0],
            size = embedding.Weight.Shape[1];
        var head = tied
            ? new LinearLayer(name, size, vocabulary, new DenseProjection(embedding.Weight))
            : AddLinear(name, size, vocabulary, false, null);
        var matrix = (DenseProjection)head.Projection;
        if (projections?.FindStored(source, matrix.Weight.Name, vocabulary, size) is { } stored)
            matrix.KeepStored(stored);
        return head;
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
    /// <param name="name">Module name.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="size">D.</param>
    /// <param name="factor">Factor on the rows.</param>
    public EmbeddingLayer AddEmbedding(string name, long vocabulary, long size, double factor = 1) =>
        new(Add(name + ".weight", WeightRole.Matrix, vocabulary, size), factor);

    /// <summary>Adds an RMSNorm <c>name.weight</c> [size].</summary>
    public INormLayer AddRmsNorm(string name, long size, double epsilon) =>
        AddNorm(new RmsNorm(Add(name + ".weight", WeightRole.Scale, size), epsilon));

    /// <summary>Adds an RMSNorm whose scale is 1 + <c>name.weight</c> [size] (Gemma).</summary>
    public INormLayer AddOffsetRmsNorm(string name, long size, double epsilon) =>
        AddNorm(new RmsNorm(Add(name + ".weight", WeightRole.Offset, size), epsilon, isOffset: true));

    /// <summary>Adds a LayerNorm <c>name.weight</c> [size] without a bias.</summary>
    public INormLayer AddPlainLayerNorm(string name, long size, double epsilon) =>
        AddNorm(new LayerNorm(Add(name + ".weight", WeightRole.Scale, size), null, epsilon));

    /// <summary>Adds a weight that belongs to no layer of its own, under its full name.</summary>
    /// <param name="name">Name of the tensor.</param>
    /// <param name="role">How a new model begins.</param>
    /// <param name="shape">Its dimensions.</param>
    public Weight AddWeight(string name, WeightRole role, params long[] shape) => Add(name, role, shape);

    /// <summary>Adds a number of the architecture that a checkpoint holds beside the weights; nobody trains it.</summary>
    /// <param name="name">Name of the tensor.</param>
    /// <param name="initial">Its value in a new model.</param>
    /// <param name="shape">Its dimensions.</param>
    public Weight AddConstant(string name, double initial, params long[] shape)
    {
        var weight = new Weight(name, source.TakeConstant(name, initial, shape)) { IsConstant = true };
        _weights.Add(weight);
        return weight;
    }

    /// <summary>Adds one matrix of each of several experts, which the checkpoint holds in one tensor.</summary>
    /// <param name="stack">The tensor.</param>
    /// <param name="experts">E.</param>
    /// <param name="share">The share of the tokens that one expert sees.</param>
    public IReadOnlyList<LinearLayer> AddExperts(ExpertStack stack, int experts, double share)
    {
        IReadOnlyList<IProjection>? forms = projections?.MakeStack(source, stack, experts);
        if (forms is null)
        {
            var all = Add(stack.Name, WeightRole.Matrix, stack.GetShape(experts));
            forms = [.. Enumerable.Range(0, experts).Select(e => new StackedProjection(all, e, stack.IsTransposed))];
        }
        stack.Layers =
        [
            .. forms.Select((form, e) => new LinearLayer(stack.GetLayerName(e), stack.Inputs, stack.Outputs, form) { Share = share }),
        ];
        foreach (var layer in stack.Layers)
            Add(layer);
        _stacks.Add(stack);
        return stack.Layers;
    }

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
        divided?.Dispose();
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
        Add(layer);
        return layer;
    }

    // Ranks that divide the matrices never hold more than one of them whole.
    private void Add(LinearLayer layer)
    {
        _linears.Add(layer);
        if (_block is not { } block)
            return;
        _blocks[block].Add(layer);
        divided?.Add(block, layer.Projection);
    }

    private Weight Add(string name, WeightRole role, params long[] shape)
    {
        var weight = new Weight(name, source.Take(name, role, shape));
        _weights.Add(weight);
        return weight;
    }
}
