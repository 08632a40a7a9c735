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
            if (kind is not (QuantizationKind.None or QuantizationKind.Keep) && stored.Kind != kind)
            {
                stored.Dispose();
                throw new ConfigurationException(
                    $"quantization is {kind.ToString().ToLowerInvariant()}, but the checkpoint is stored in "
                        + $"{stored.Kind.ToString().ToLowerInvariant()}; leave the option away."
                );
            }
            return stored;
        }
        if (kind == QuantizationKind.Keep)
            return source is CheckpointWeights blocks ? Kept(blocks, name, outputs, inputs, bias) : null;
        if (kind == QuantizationKind.None)
            return null;
        QuantizedProjection? made = null;
        source.Visit(name + ".weight", WeightRole.Matrix, weight => made = Quantize(weight, bias()), outputs, inputs);
        return made;
    }

    private QuantizedProjection Quantize(Tensor weight, Weight? bias) =>
        kind switch
        {
            QuantizationKind.Nf4 => Nf4Projection.Quantize(weight, bias, device),
            QuantizationKind.Int8 => Int8Projection.Quantize(weight, bias, device),
            _ => throw new ConfigurationException($"quantization is {kind}; use none, nf4, int8 or keep."),
        };

    // F32, F16 and BF16 matrices of a GGUF file have no blocks.
    private GgufProjection? Kept(CheckpointWeights files, string name, long outputs, long inputs, Func<Weight?> bias)
    {
        if (!files.HasBlocks)
            throw new ConfigurationException(
                "quantization is keep, but the model is not a GGUF file with blocks to keep. Use none, nf4 or int8."
            );
        if (device.type != TorchSharp.DeviceType.CPU)
            throw new ConfigurationException(
                $"quantization is keep, which computes on the CPU only; the device is {device.type.ToString().ToLowerInvariant()}. Use nf4."
            );
        if (files.TakeBlocks(name + ".weight", outputs, inputs) is not { } matrix)
            return null;
        matrix.RequireFinite();
        return new GgufProjection(matrix, outputs, inputs, bias());
    }

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
