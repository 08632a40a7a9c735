using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>A block with a recurrent state instead of attention: a norm, the recurrence, an output projection; a norm, an MLP.</summary>
internal sealed class RecurrentBlock : DecoderBlock
{
    /// <inheritdoc/>
    public override required INormLayer AttentionNorm { get; init; }

    /// <inheritdoc/>
    internal override required Recurrence? Recurrence { get; init; }

    /// <inheritdoc/>
    public override required LinearLayer AttentionOutput { get; init; }

    /// <inheritdoc/>
    public override required INormLayer MlpNorm { get; init; }

    /// <inheritdoc/>
    public override required FeedForward Mlp { get; init; }

    /// <inheritdoc/>
    public override int HeadGroups => 1;

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> AttentionLayers => [.. Recurrence!.Layers, AttentionOutput];

    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> RunAgain => Recurrence!.Layers;

    /// <inheritdoc/>
    public override AttentionInputs Project(Tensor input, int firstGroup, int groupCount, ForwardContext context) =>
        throw new NotSupportedException("A block with a recurrent state has no queries, keys and values.");
}
