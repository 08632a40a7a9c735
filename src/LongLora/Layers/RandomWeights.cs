using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>A new model: matrices from a normal distribution, scales one, biases zero. The same seed gives the same weights.</summary>
/// <param name="deviation">Standard deviation of the matrices.</param>
/// <param name="seed">Seed.</param>
/// <param name="device">Where the model lives; the numbers are drawn on the CPU.</param>
/// <param name="type">Type of the weights.</param>
internal sealed class RandomWeights(double deviation, long seed, Device device, ScalarType type = ScalarType.Float32) : WeightSource
{
    private long _taken;

    /// <inheritdoc/>
    public override Tensor TakeConstant(string name, double initial, params long[] shape) => full(shape, Scalars.Of(initial), type, device);

    /// <inheritdoc/>
    public override Tensor Take(string name, WeightRole role, params long[] shape)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator((ulong)(seed * 1_000_003 + _taken++), CPU);
        var value = role switch
        {
            WeightRole.Scale => ones(shape),
            WeightRole.Bias or WeightRole.Offset => zeros(shape),
            _ => randn(shape, generator: generator).mul_(Scalars.Of(deviation)),
        };
        return value.to(type).to(device).MoveToOuterDisposeScope();
    }
}
