using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>
/// Gives a model that is being built its matrices in few bits: those of a quantised checkpoint as they are, others quantised one at a
/// time, so that the model in full precision never exists.
/// </summary>
/// <param name="kind">The wanted form; None leaves every matrix as it is stored.</param>
/// <param name="device">Where the model lives.</param>
/// <param name="storedType">The type of the model before it was quantised, where its files do not say (int8).</param>
public sealed class ProjectionQuantizer(QuantizationKind kind, Device device, ScalarType storedType = ScalarType.BFloat16)
    : IProjectionSource
{
    /// <inheritdoc/>
    public IProjection? Make(WeightSource source, string name, long outputs, long inputs, Func<Weight?> bias)
    {
        if (source is CheckpointWeights files && Stored(files, name, outputs, inputs, bias) is { } stored)
        {
            if (kind != QuantizationKind.None && stored.Kind != kind)
            {
                stored.Dispose();
                throw MakeMismatch(stored.Kind);
            }
            return stored;
        }
        if (kind == QuantizationKind.None)
            return null;
        QuantizedProjection? made = null;
        source.Visit(name + ".weight", WeightRole.Matrix, weight => made = Quantize(weight, bias()), outputs, inputs);
        return made;
    }

    /// <inheritdoc/>
    public IReadOnlyList<IProjection>? MakeStack(WeightSource source, ExpertStack stack, int experts)
    {
        if (source is CheckpointWeights files)
        {
            if (files.Find(stack.Name + Mxfp4Projection.BlocksSuffix) is not null)
                return kind is QuantizationKind.None or QuantizationKind.Mxfp4
                    ? Mxfp4Projection.Read(files, stack, experts, storedType)
                    : throw MakeMismatch(QuantizationKind.Mxfp4);
            // Of a model that was quantised here: the experts one by one.
            if (files.Find(stack.GetLayerName(0) + ".weight") is not null)
                return
                [
                    .. Enumerable
                        .Range(0, experts)
                        .Select(e => Make(source, stack.GetLayerName(e), stack.Outputs, stack.Inputs, () => null)!),
                ];
        }
        if (kind == QuantizationKind.None)
            return null;
        var made = new List<IProjection>();
        source.Visit(
            stack.Name,
            WeightRole.Matrix,
            all =>
            {
                for (var e = 0; e < experts; e++)
                {
                    using var scope = NewDisposeScope();
                    var own = all.select(0, e);
                    made.Add(Quantize(stack.IsTransposed ? own.t().contiguous() : own, null));
                }
            },
            stack.GetShape(experts)
        );
        return made;
    }

    private ConfigurationException MakeMismatch(QuantizationKind stored) =>
        new(
            $"quantization is {kind.ToString().ToLowerInvariant()}, but the checkpoint is stored in "
                + $"{stored.ToString().ToLowerInvariant()}; leave the option away."
        );

    private QuantizedProjection Quantize(Tensor weight, Weight? bias) =>
        kind switch
        {
            QuantizationKind.Nf4 => Nf4Projection.Quantize(weight, bias, device),
            QuantizationKind.Int8 => Int8Projection.Quantize(weight, bias, device),
            _ => throw new ConfigurationException($"quantization is {kind}; use none, nf4 or int8."),
        };

    private QuantizedProjection? Stored(CheckpointWeights files, string name, long outputs, long inputs, Func<Weight?> bias)
    {
        var weight = name + ".weight";
        if (files.Find(weight + Nf4Format.StateSuffix) is not null)
            return Nf4Format.Read(files, weight, outputs, inputs, bias());
        if (files.Find(weight + Nf4Format.Fp4StateSuffix) is { } fp4)
            throw new CheckpointException(
                $"{fp4.File}: '{weight}' is stored in fp4; nf4 and int8 are supported. Take the model in full precision, or one in nf4."
            );
        return files.Find(weight)?.Type == ScalarType.Int8 ? Int8Projection.Read(files, name, outputs, inputs, storedType, bias()) : null;
    }
}
