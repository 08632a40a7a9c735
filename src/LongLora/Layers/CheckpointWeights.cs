using LongLora.Checkpoints;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// The weights of a checkpoint. On the CPU they are memory-mapped and not copied; on any other device they are copied. Shapes, names and
/// values are checked.
/// </summary>
/// <param name="source">The files. They must stay open as long as the model lives.</param>
/// <param name="device">Where the model lives.</param>
/// <param name="ignored">Stored tensors that the model does not need, such as old rotary tables.</param>
internal sealed class CheckpointWeights(ITensorSource source, Device device, Predicate<string>? ignored = null) : WeightSource
{
    private readonly HashSet<string> _taken = [];

    /// <inheritdoc/>
    public override Tensor Take(string name, WeightRole role, params long[] shape)
    {
        var info = Check(name, shape);
        var value = source.Open(name);
        Liveness.Tick();
        TensorNumbers.RequireFinite(value, info);
        return Move(value);
    }

    /// <inheritdoc/>
    public override void Visit(string name, WeightRole role, Action<Tensor> use, params long[] shape)
    {
        var info = Check(name, shape);
        source.Visit(name, value =>
        {
            TensorNumbers.RequireFinite(value, info);
            use(value);
        });
    }

    /// <summary>What the files say about a tensor; null if they have no tensor with that name.</summary>
    public TensorInfo? Find(string name) => source.Tensors.GetValueOrDefault(name);

    /// <summary>A tensor of exactly that type and shape that is not a plain weight, such as the codes of a quantized one.</summary>
    public Tensor TakeStored(string name, ScalarType type, params long[] shape)
    {
        var info = Find(name)
            ?? throw new CheckpointException(
                $"The checkpoint has no tensor '{name}', which its quantized weight needs. Download the files again."
            );
        if (info.Type != type || !info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{name}' is {info.Type} [{string.Join(", ", info.Shape)}], but it must be {type} "
                    + $"[{string.Join(", ", shape)}]."
            );
        _taken.Add(name);
        var value = source.Open(name);
        Liveness.Tick();
        if (type == ScalarType.Float32)
            TensorNumbers.RequireFinite(value, info);
        return Move(value);
    }

    /// <summary>Whether the tensors come from a file whose matrices may be stored in blocks (GGUF).</summary>
    internal bool HasBlocks => source is GgufTensors;

    /// <summary>A matrix in the blocks in which it is stored; null where it is stored whole.</summary>
    internal GgufMatrix? TakeBlocks(string name, params long[] shape)
    {
        Check(name, shape);
        return (source as GgufTensors)?.Blocks(name);
    }

    /// <summary>
    /// A stack of experts that a GGUF file has in MXFP4: bytes of two numbers, and exponents; null where it is stored otherwise.
    /// </summary>
    internal (Tensor Blocks, Tensor Scales)? TakePacked(string name, params long[] shape)
    {
        if (source is not GgufTensors file || !file.Tensors.ContainsKey(name) || file.Packed(name) is not { } packed)
            return null;
        Check(name, shape);
        return (Move(packed.Blocks), Move(packed.Scales));
    }

    private TensorInfo Check(string name, long[] shape)
    {
        if (!source.Tensors.TryGetValue(name, out var info))
            throw new CheckpointException(
                $"The checkpoint has no tensor '{name}' of shape [{string.Join(", ", shape)}], which config.json requires. "
                    + $"{TensorNames.Advise(source.Tensors.Keys)}"
            );
        if (!info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{name}' is [{string.Join(", ", info.Shape)}], but config.json requires [{string.Join(", ", shape)}]."
            );
        if (info.Type is not (ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float64))
            throw new CheckpointException($"{info.File}: '{name}' has type {info.Type}, but weights must be F32, F16, BF16 or F64.");
        _taken.Add(name);
        return info;
    }

    private Tensor Move(Tensor value)
    {
        if (device.type == DeviceType.CPU)
            return value;
        using (value)
            return value.to(device);
    }

    /// <inheritdoc/>
    public override void Finish()
    {
        var left = source.Tensors.Values.Where(t => !_taken.Contains(t.Name) && ignored?.Invoke(t.Name) != true).ToList();
        if (left.Count > 0)
        {
            throw new CheckpointException(
                $"{left[0].File}: '{left[0].Name}' [{string.Join(", ", left[0].Shape)}] is not part of the model that "
                    + $"config.json describes{(left.Count > 1 ? $", and neither are {left.Count - 1} other tensors" : "")}."
            );
        }
    }
}
