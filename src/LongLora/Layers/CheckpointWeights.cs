using LongLora.Checkpoints;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// Weights of a checkpoint: mapped, not copied, on the CPU; copied to any other device. Shapes, names and values are checked.
/// </summary>
/// <param name="source">The files; they must stay open as long as the model.</param>
/// <param name="device">Where the model lives.</param>
/// <param name="ignored">Stored tensors that the model does not need, such as old rotary tables.</param>
public sealed class CheckpointWeights(ITensorSource source, Device device, Predicate<string>? ignored = null) : WeightSource
{
    private readonly HashSet<string> _taken = [];

    /// <inheritdoc/>
    public override Tensor Take(string name, WeightRole role, params long[] shape)
    {
        var info = Check(name, shape);
        var value = source.Open(name);
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

    /// <summary>What the files say of a tensor; null where they have none of that name.</summary>
    public TensorInfo? Find(string name) => source.Tensors.GetValueOrDefault(name);

    /// <summary>A tensor that is no plain weight, such as the codes of a quantised one, of exactly that type and shape.</summary>
    public Tensor TakeStored(string name, ScalarType type, params long[] shape)
    {
        var info = Find(name)
            ?? throw new CheckpointException(
                $"The checkpoint has no tensor '{name}', which belongs to a quantised weight that it has. Fetch the files again."
            );
        if (info.Type != type || !info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{name}' is {info.Type} [{string.Join(", ", info.Shape)}]; {type} [{string.Join(", ", shape)}] is needed."
            );
        _taken.Add(name);
        var value = source.Open(name);
        if (type == ScalarType.Float32)
            TensorNumbers.RequireFinite(value, info);
        return Move(value);
    }

    private TensorInfo Check(string name, long[] shape)
    {
        if (!source.Tensors.TryGetValue(name, out var info))
            throw new CheckpointException(
                $"The checkpoint has no tensor '{name}' of shape [{string.Join(", ", shape)}], which config.json asks for. "
                    + $"{TensorNames.Advise(source.Tensors.Keys)}"
            );
        if (!info.Shape.SequenceEqual(shape))
            throw new CheckpointException(
                $"{info.File}: '{name}' is [{string.Join(", ", info.Shape)}], but config.json asks for [{string.Join(", ", shape)}]."
            );
        if (info.Type is not (ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float64))
            throw new CheckpointException($"{info.File}: '{name}' is of type {info.Type}; weights must be F32, F16, BF16 or F64.");
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
                $"{left[0].File}: '{left[0].Name}' [{string.Join(", ", left[0].Shape)}] belongs to no part of the model that "
                    + $"config.json describes{(left.Count > 1 ? $", nor do {left.Count - 1} other tensors" : "")}."
            );
        }
    }
}
