using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>down(activation(up)), an MLP without a gate.</summary>
/// <param name="wide">[.., D] -> [.., F].</param>
/// <param name="activation">The function between them; it may have its own weights.</param>
internal sealed class PlainMlp(LinearLayer wide, Func<Tensor, Tensor> activation) : DenseMlp
{
    /// <inheritdoc/>
    public override IReadOnlyList<LinearLayer> Inputs { get; } = [wide];

    /// <inheritdoc/>
    internal override Tensor Activate(IReadOnlyList<Tensor> outputs)
    {
        using var scope = NewDisposeScope();
        return activation(outputs[0]).MoveToOuterDisposeScope();
    }
}
