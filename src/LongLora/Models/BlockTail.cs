using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// N rows, D model size, P size of an input

/// <summary>
/// What Gemma 4 does to a block's output h: h + norm(W (act(G h) · input)) with an input of the token for this layer, and a factor on all.
/// </summary>
/// <param name="layer">Index of the layer.</param>
/// <param name="factor">[1].</param>
internal sealed class BlockTail(int layer, Weight factor)
{
    /// <summary>G, W, act and the norm; null if tokens have no inputs.</summary>
    internal (LinearLayer Gate, LinearLayer Projection, Func<Tensor, Tensor> Activation, INormLayer Norm)? Branch { get; init; }

    /// <summary>Some rows: [N, D] -> [N, D]; differentiable.</summary>
    /// <param name="rows">The rows.</param>
    /// <param name="start">Index of the first among all.</param>
    /// <param name="side">The inputs.</param>
    internal Tensor Forward(Tensor rows, long start, SideInputs? side)
    {
        using var scope = NewDisposeScope();
        var sum = Branch is null ? rows : Add(rows, side!.GetInputs(layer, start, rows.size(0)));
        return sum.mul(factor.Value.In(rows.dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>Replaces the gradient of the result by that of the rows, and adds those of weights and inputs. Outside autograd.</summary>
    /// <param name="rows">Gives the rows [N, D], which only the branch needs.</param>
    /// <param name="gradient">[N, D]; changed.</param>
    /// <param name="start">Index of the first row.</param>
    /// <param name="side">The inputs.</param>
    internal void Backward(Func<Tensor> rows, Tensor gradient, long start, SideInputs? side)
    {
        using var scope = NewDisposeScope();
        gradient.mul_(factor.Value.In(gradient.dtype));
        if (Branch is null)
            return;
        var leaf = rows().detach().requires_grad_(true);
        var input = side!.GetInputs(layer, start, gradient.size(0)).detach().requires_grad_(true);
        using (enable_grad())
            Add(leaf, input).backward([gradient]);
        gradient.copy_(leaf.grad!);
        side.AddInputGradient(layer, start, input.grad!);
    }

    private Tensor Add(Tensor rows, Tensor input)
    {
        var (gate, projection, activation, norm) = Branch!.Value;
        return rows.add(norm.Forward(projection.Forward(activation(gate.Forward(rows)).mul(input))), Scalars.One);
    }
}
