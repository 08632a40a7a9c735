using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

// N rows, F MLP size

/// <summary>activation(gate) · up, row by row.</summary>
/// <param name="name">The function's name in configs.</param>
/// <exception cref="CheckpointException">The name is unknown.</exception>
internal sealed unsafe class GatedActivation(string name)
{
    private readonly Func<Tensor, Tensor> _function = Activations.Get(name);
    private readonly bool _isSilu = name == "silu";

    /// <summary>[.., F] for gate and up [.., F]; differentiable.</summary>
    public Tensor Forward(Tensor gate, Tensor up)
    {
        if (!IsLoop(gate) || !IsLoop(up))
            return _function(gate).mul(up);
        var (count, size) = (gate.numel() / gate.size(-1), gate.size(-1));
        var output = empty(gate.shape, gate.dtype);
        var (gates, ups, results) = (new RowsAt(gate), new RowsAt(up), new RowsAt(output));
        HostLoop.ForRows(count, size, (first, some) => SiluRows.Multiply(gates, ups, results, first, some, size));
        GC.KeepAlive(gate);
        GC.KeepAlive(up);
        return output;
    }

    /// <summary>Writes the gradients of gate and up for that of the result, outside autograd.</summary>
    /// <param name="gate">[N, F].</param>
    /// <param name="up">[N, F].</param>
    /// <param name="gradient">[N, F], of the result.</param>
    /// <param name="gateGradient">[N, F]; written.</param>
    /// <param name="upGradient">[N, F]; written.</param>
    public void Backward(Tensor gate, Tensor up, Tensor gradient, Tensor gateGradient, Tensor upGradient)
    {
        using var noGradient = no_grad();
        if (IsLoop(gate) && IsLoop(up) && IsLoop(gradient))
        {
            var (count, size) = (gate.size(0), gate.size(1));
            var (gates, ups, outer) = (new RowsAt(gate), new RowsAt(up), new RowsAt(gradient));
            var (ofGate, ofUp) = (new RowsAt(gateGradient), new RowsAt(upGradient));
            HostLoop.ForRows(count, size, (first, some) => SiluRows.Differentiate(gates, ups, outer, ofGate, ofUp, first, some, size));
            GC.KeepAlive(gate);
            GC.KeepAlive(up);
            GC.KeepAlive(gradient);
            GC.KeepAlive(gateGradient);
            GC.KeepAlive(upGradient);
            return;
        }
        using var scope = NewDisposeScope();
        var (gateLeaf, upLeaf) = (gate.detach().requires_grad_(true), up.detach().requires_grad_(true));
        using (enable_grad())
            Forward(gateLeaf, upLeaf).backward([gradient]);
        gateGradient.copy_(gateLeaf.grad!);
        upGradient.copy_(upLeaf.grad!);
    }

    private bool IsLoop(Tensor tensor) => _isSilu && HostLoop.Takes(tensor) && RowsAt.Fits(tensor);
}
