using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// E experts, D model size, F expert size

/// <summary>
/// An expert of gpt-oss: gate and up are the even and the odd outputs of one layer, both bounded, and the result is
/// (up + 1) gate sigmoid(a gate).
/// </summary>
/// <param name="wide">[.., D] -> [.., 2 F].</param>
/// <param name="biases">[E, 2 F].</param>
/// <param name="index">Index of the expert.</param>
/// <param name="limit">Bound of gate from above, and of up on both sides.</param>
/// <param name="slope">a.</param>
internal sealed class ClampedMlp(LinearLayer wide, Weight biases, int index, double limit, double slope) : DenseMlp
{
    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Inputs { get; } = [wide];

    /// <inheritdoc/>
    internal override Tensor Activate(IReadOnlyList<Tensor> outputs)
    {
        using var scope = NewDisposeScope();
        var both = outputs[0];
        both = both.add(biases.Value[index].In(both.dtype), Scalars.One).unflatten(both.dim() - 1, [Output.InputSize, 2]);
        var gate = both.select(-1, 0).clamp(max: Scalars.Of(limit));
        var up = both.select(-1, 1).clamp(Scalars.Of(-limit), Scalars.Of(limit));
        var gated = gate.mul(gate.mul(Scalars.Of(slope)).sigmoid());
        return up.add(Scalars.One, Scalars.One).mul(gated).MoveToOuterDisposeScope();
    }
}
