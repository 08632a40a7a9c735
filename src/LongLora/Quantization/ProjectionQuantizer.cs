using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>
/// Gives quantized matrices to a model that is being built. Matrices of a quantized checkpoint are used as they are; others are quantized
/// one at a time, so the model in full precision never exists.
/// </summary>
/// <param name="kind">The format to use; None keeps every matrix as it is stored.</param>
/// <param name="device">Where the model lives.</param>
/// <param name="storedType">The type of the model before quantization, if its files do not say (int8).</param>
internal sealed class ProjectionQuantizer(QuantizationKind kind, Device device, ScalarType storedType = ScalarType.BFloat16)
    : IProjectionSource
{
    /// <inheritdoc/>
    public IProjection? Make(WeightSource source, string name, long outputs, long inputs, Func<Weight?> bias)
    {
        if (source is CheckpointWeights files && ReadStored(files, name, outputs, inputs, bias) is { } stored)
        {
            if (kind is not (QuantizationKind.None or QuantizationKind.Keep) && stored.Kind != kind)
            {
                stored.Dispose();
                throw MakeMismatch(stored.Kind);
            }
            return stored;
        }
        if (kind == QuantizationKind.Keep)
            return source is CheckpointWeights blocks ? ReadKept(blocks, name, outputs, inputs, bias) : null;
        if (kind == QuantizationKind.None)
            return null;
        QuantizedProjection? made = null;
        source.Visit(name + ".weight", WeightRole.Matrix, weight => made = Quantize(weight, bias()), outputs, inputs);
        return made;
    }

    /// <inheritdoc/>
    public IProjection? FindStored(WeightSource source, string name, long outputs, long inputs) =>
        kind == QuantizationKind.Keep && source is CheckpointWeights files && files.TakeBlocks(name, outputs, inputs) is { } matrix
            ? new GgufProjection(matrix, outputs, inputs, null)
            : null;

    /// <inheritdoc/>
    public IReadOnlyList<IProjection>? MakeStack(WeightSource source, ExpertStack stack, int experts)
    {
        if (source is CheckpointWeights files)
        {
            if (files.Find(stack.Name + Mxfp4Projection.BlocksSuffix) is not null)
                return kind is QuantizationKind.None or QuantizationKind.Keep or QuantizationKind.Mxfp4
                    ? Mxfp4Projection.Read(files, stack, experts, storedType)
                    : throw MakeMismatch(QuantizationKind.Mxfp4);
            // The same numbers in a GGUF file.
            if (
                (kind is QuantizationKind.None or QuantizationKind.Keep or QuantizationKind.Mxfp4)
                && stack.IsTransposed
                && files.TakePacked(stack.Name, stack.GetShape(experts)) is { } packed
            )
                return Mxfp4Projection.Split(packed, stack, storedType);
            // Of a model that was quantized here: the experts one by one.
            if (files.Find(stack.GetLayerName(0) + ".weight") is not null)
                return
                [
                    .. Enumerable
                        .Range(0, experts)
                        .Select(e => Make(source, stack.GetLayerName(e), stack.Outputs, stack.Inputs, () => null)!),
                ];
        }
        if (kind is QuantizationKind.None or QuantizationKind.Keep)
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
            $"Cannot use quantization {kind.ToString().ToLowerInvariant()} because the checkpoint is already stored in "
                + $"{stored.ToString().ToLowerInvariant()}. Remove the quantization option."
        );

    private QuantizedProjection Quantize(Tensor weight, Weight? bias) =>
        kind switch
        {
            QuantizationKind.Nf4 => Nf4Projection.Quantize(weight, bias, device),
            QuantizationKind.Int8 => Int8Projection.Quantize(weight, bias, device),
            _ => throw new ConfigurationException($"quantization is {kind}, which is unknown. Use none, nf4, int8 or keep."),
        };

    // F32, F16 and BF16 matrices of a GGUF file have no blocks.
    private GgufProjection? ReadKept(CheckpointWeights files, string name, long outputs, long inputs, Func<Weight?> bias)
    {
        if (!files.HasBlocks)
            throw new ConfigurationException(
                "quantization is keep, but the model is not a GGUF file with blocks to keep. Use none, nf4 or int8."
            );
        if (device.type != TorchSharp.DeviceType.CPU)
            throw new ConfigurationException(
                "quantization is keep, which works only on the CPU, but the device is "
                    + $"{device.type.ToString().ToLowerInvariant()}. Use nf4."
            );
        if (files.TakeBlocks(name + ".weight", outputs, inputs) is not { } matrix)
            return null;
        matrix.RequireFinite();
        return new GgufProjection(matrix, outputs, inputs, bias());
    }

    private QuantizedProjection? ReadStored(CheckpointWeights files, string name, long outputs, long inputs, Func<Weight?> bias)
    {
        var weight = name + ".weight";
        if (files.Find(weight + Nf4Format.StateSuffix) is not null)
            return Nf4Format.Read(files, weight, outputs, inputs, bias());
        if (files.Find(weight + Nf4Format.Fp4StateSuffix) is { } fp4)
            throw new CheckpointException(
                $"{fp4.File}: '{weight}' is stored in fp4, which is not supported. Use the model in full precision, in nf4 or in int8."
            );
        return files.Find(weight)?.Type == ScalarType.Int8 ? Int8Projection.Read(files, name, outputs, inputs, storedType, bias()) : null;
    }
}
