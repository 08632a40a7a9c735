using LongLora.Attention;
using LongLora.Configs;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, H heads, J key-value heads, D model size

/// <summary>
/// The block of Llama and related families: rotary positions or none, grouped-query attention, an MLP, and the norms of the family. A
/// family only says which layers there are (<see cref="BlockDesign"/>).
/// </summary>
/// <param name="config">The architecture.</param>
/// <param name="layer">Index of the layer.</param>
internal sealed class AttentionBlock(ModelConfig config, int layer) : DecoderBlock
{
    private readonly LayerPlan _plan = config.GetLayer(layer);
    private readonly int _heads = config.HeadCount;

    /// <inheritdoc/>
    public override bool IsParallel { get; } = config.ParallelResidual;

    /// <inheritdoc/>
    public override required INormLayer AttentionNorm { get; init; }

    /// <summary>The query heads.</summary>
    internal required HeadProjection Query { get; init; }

    /// <summary>The gates of the heads' outputs; null for none.</summary>
    internal HeadProjection? Gate { get; init; }

    /// <summary>The key heads; null if they are those of another block.</summary>
    internal required HeadProjection? Key { get; init; }

    /// <summary>The value heads; null if they are those of another block.</summary>
    internal required HeadProjection? Value { get; init; }

    /// <inheritdoc/>
    public override required LinearLayer AttentionOutput { get; init; }

    /// <inheritdoc/>
    public override BranchEnd AttentionEnd { get; init; } = BranchEnd.None;

    /// <inheritdoc/>
    public override required INormLayer MlpNorm { get; init; }

    /// <inheritdoc/>
    public override required FeedForward Mlp { get; init; }

    /// <inheritdoc/>
    public override BranchEnd MlpEnd { get; init; } = BranchEnd.None;

    /// <inheritdoc/>
    public override Weight? Sinks { get; init; }

    /// <inheritdoc/>
    public override double? ScoreCap { get; } = config.ScoreCap;

    /// <inheritdoc/>
    public override BlockTail? Tail { get; init; }

    /// <inheritdoc/>
    public override int? Window => _plan.Window;

    /// <inheritdoc/>
    public override int Index => layer;

    /// <inheritdoc/>
    public override int? KeysOf => _plan.KeysOf;

    /// <inheritdoc/>
    public override bool SharesKeys { get; } = config.Layers.Any(plan => plan.KeysOf == layer);

    // A norm over all heads of a token needs all of them.
    /// <inheritdoc/>
    public override int HeadGroups => Query is { Norm: not null, NormPlace: HeadNormPlace.WholeWidth } ? 1 : _plan.KeyValueHeadCount;

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> AttentionLayers => [.. Projections.Select(p => p.Layer).Append(AttentionOutput).Distinct()];

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> RunAgain => [.. Projections.Where(p => p.Norm is not null).Select(p => p.Layer).Distinct()];

    /// <inheritdoc/>
    internal override int CountSlices(LinearLayer layer) => Projections.Count(p => p.Layer == layer);

    private IEnumerable<HeadProjection> Projections => new[] { Query, Key, Value }.OfType<HeadProjection>();

    /// <inheritdoc/>
    public override AttentionInputs Project(Tensor input, int firstGroup, int groupCount, ForwardContext context)
    {
        var positions = context.Positions.Select(_plan.Rotation);
        var (queries, keys) = (OfGroups(firstGroup, groupCount, _heads), OfGroups(firstGroup, groupCount, _plan.KeyValueHeadCount));
        var query = (Query, queries, positions?.SelectForQueries());
        if (Key is null || Value is null)
        {
            var (key, value) = context.Side!.GetKeys(KeysOf!.Value, keys.First, keys.Count);
            return new(HeadProjection.Forward(input, query)[0], key, value, queries);
        }
        var heads = HeadProjection.Forward(input, query, (Key, keys, positions), (Value, keys, null));
        return new(heads[0], heads[1], heads[2], queries);
    }

    /// <inheritdoc/>
    public override Tensor ProjectBackward(Tensor input, AttentionInputs gradients, int firstGroup, int groupCount, ForwardContext context)
    {
        using var scope = NewDisposeScope();
        var positions = context.Positions.Select(_plan.Rotation);
        var (queries, keys) = (OfGroups(firstGroup, groupCount, _heads), OfGroups(firstGroup, groupCount, _plan.KeyValueHeadCount));
        var result = Query.Backward(input, gradients.Query, queries.First, queries.Count, positions?.SelectForQueries());
        if (Key is not null)
            result.add_(Key.Backward(input, gradients.Key, keys.First, keys.Count, positions), Scalars.One);
        if (Value is not null)
            result.add_(Value.Backward(input, gradients.Value, keys.First, keys.Count, null), Scalars.One);
        return result.view(input.shape).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override bool HasGate => Gate is not null;

    /// <inheritdoc/>
    public override Tensor ComputeGate(Tensor input)
    {
        using var scope = NewDisposeScope();
        var rows = input.reshape(1, -1, input.size(-1));
        return HeadProjection
            .Forward(rows, (Gate!, new(0, _heads, _heads), null))[0]
            .transpose(1, 2)
            .flatten(2, 3)
            .squeeze(0)
            .sigmoid()
            .MoveToOuterDisposeScope();
    }

    private HeadSlice OfGroups(int first, int count, int total)
    {
        var perGroup = total / HeadGroups;
        return new(first * perGroup, count * perGroup, total);
    }
}
