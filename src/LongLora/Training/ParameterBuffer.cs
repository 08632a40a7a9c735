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
    /// <summary>Elements whose squares are added in fp32. Borders between ranks lie between such blocks.</summary>
    internal const long BlockElements = 4096;

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
    public double ComputeGradientNorm() => ComputeGradientNorm(null);

    /// <summary>The same bits where each rank has only its part of the gradients. All ranks call it.</summary>
    internal double ComputeGradientNorm(OptimizerShards? shards)
    {
        using var scope = NewDisposeScope();
        // Partial sums of squares by blocks in fp32, added in fp64: close to exact without a second buffer.
        var blocks = Count / BlockElements;
        var norms = zeros(blocks + 1, ScalarType.Float64, Gradients.device); // and the square of what is left
        var (start, end) = shards is null ? (0, Count) : (shards.Start, shards.Start + shards.Count);
        var (first, last) = (start / BlockElements, end / BlockElements);
        if (last > first)
            norms.narrow(0, first, last - first).copy_(ComputeBlockNorms(first, last));
        if (end == Count && end > Math.Max(start, last * BlockElements))
        {
            var rest = Gradients.narrow(0, last * BlockElements, end - last * BlockElements).to(ScalarType.Float64);
            norms[blocks] = rest.mul(rest).sum();
        }
        shards?.Ranks.AllGather(norms, [.. shards.Borders.SkipLast(1).Select(b => b / BlockElements), blocks + 1]).Wait();
        var squares = norms[blocks].item<double>();
        var whole = norms.narrow(0, 0, blocks);
        return Math.Sqrt((blocks > 0 ? whole.mul(whole).sum().item<double>() : 0) + squares);
    }

    // A single row is added in another order than a row among others, so there are always two if there can be.
    private Tensor ComputeBlockNorms(long first, long last)
    {
        var from = Math.Max(0, Math.Min(first, last - 2));
        var to = Math.Min(Math.Max(last, from + 2), Count / BlockElements);
        var rows = Gradients.narrow(0, from * BlockElements, (to - from) * BlockElements).view(-1, BlockElements);
        return rows.norm(1, keepdim: false, p: 2f).narrow(0, first - from, last - first).to(ScalarType.Float64);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Values.Dispose();
        Gradients.Dispose();
    }
}
