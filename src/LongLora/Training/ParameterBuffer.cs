using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// All trained weights in one flat fp32 tensor, their gradients in another. Weights and gradients are views, so one call can step, clip,
/// save or all-reduce everything.
/// </summary>
public sealed class ParameterBuffer : IDisposable
{
    private readonly IReadOnlyList<Weight> _weights;

    /// <summary>Moves the values of the weights into the buffer and makes the weights views of it that collect gradients.</summary>
    public ParameterBuffer(IReadOnlyList<Weight> weights)
    {
        if (weights.Count == 0)
            throw new ConfigurationException(
                "There is nothing to train: no LoRA layers, no embeddings and no norms. Choose a tuning method or target modules."
            );
        _weights = weights;
        using var scope = NewDisposeScope();
        var device = weights[0].Value.device;
        Values = zeros(weights.Sum(w => w.ElementCount), ScalarType.Float32, device).DetachFromDisposeScope();
        Gradients = zeros_like(Values).DetachFromDisposeScope();
        long offset = 0;
        foreach (var weight in weights)
        {
            Tensor View(Tensor flat) => flat.narrow(0, offset, weight.ElementCount).view([.. weight.Shape]);
            var value = View(Values).detach();
            value.copy_(weight.Value.detach());
            value.requires_grad_(true);
            value.grad = View(Gradients);
            weight.Replace(value);
            offset += weight.ElementCount;
        }
    }

    /// <summary>All weights one after the other, [n] fp32.</summary>
    public Tensor Values { get; }

    /// <summary>All gradients in the same order, [n] fp32.</summary>
    public Tensor Gradients { get; }

    /// <summary>Number of trained elements.</summary>
    public long Count => Values.numel();

    /// <summary>Name, offset and shape of each weight, in order.</summary>
    public IEnumerable<(string Name, long Offset, IReadOnlyList<long> Shape)> Layout
    {
        get
        {
            long offset = 0;
            foreach (var weight in _weights)
            {
                yield return (weight.Name, offset, weight.Shape);
                offset += weight.ElementCount;
            }
        }
    }

    /// <summary>Sets all gradients to zero.</summary>
    public void ClearGradients() => Gradients.zero_();

    /// <summary>The 2-norm of all gradients together, summed in double precision.</summary>
    public double ComputeGradientNorm()
    {
        using var scope = NewDisposeScope();
        // Partial sums of squares by blocks in fp32, added in fp64: close to exact without a second buffer.
        const int block = 4096;
        var whole = Count / block * block;
        var squares = 0.0;
        if (whole > 0)
        {
            var norms = Gradients.narrow(0, 0, whole).view(-1, block).norm(1, keepdim: false, p: 2f).to(ScalarType.Float64);
            squares += norms.mul(norms).sum().item<double>();
        }
        if (whole < Count)
        {
            var rest = Gradients.narrow(0, whole, Count - whole).to(ScalarType.Float64);
            squares += rest.mul(rest).sum().item<double>();
        }
        return Math.Sqrt(squares);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Values.Dispose();
        Gradients.Dispose();
    }
}
