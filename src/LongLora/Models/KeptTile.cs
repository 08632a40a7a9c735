using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, O outputs

/// <summary>The part of <see cref="KeptActivations"/> for one tile of rows. The default keeps nothing.</summary>
/// <param name="kept">What the block keeps.</param>
/// <param name="firstRow">The tile's first row.</param>
internal readonly struct KeptTile(KeptActivations kept, long firstRow)
{
    private readonly KeptActivations? _kept = kept;

    /// <summary>The output of a layer, [N, O]. If it is kept, this is outside autograd.</summary>
    internal Tensor Run(ActivationKinds kind, LinearLayer layer, Func<Tensor> input) =>
        _kept?.Run(kind, layer, firstRow, input) ?? layer.Forward(input());

    /// <summary>Another result of the tile, by what computes it. If it is kept, this is outside autograd.</summary>
    internal Tensor Recall(ActivationKinds kind, object source, Func<Tensor> compute) =>
        _kept?.Recall(kind, source, firstRow, compute) ?? compute();
}
