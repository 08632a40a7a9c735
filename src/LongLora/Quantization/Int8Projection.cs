using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>
/// A matrix in 8 bits with one scale per row: w = code · m / 127, where m is the row's largest magnitude. The file format is that of
/// bitsandbytes (LLM.int8, arXiv 2208.07339): <c>weight</c> I8 [O, I], <c>SCB</c> F32 [O] with m, and <c>weight_format</c> 0. Activations
/// are never quantized here.
/// </summary>
internal sealed class Int8Projection : QuantizedProjection
{
    internal const string ScaleSuffix = ".SCB",
        FormatSuffix = ".weight_format";
    private const int Largest = 127;

    private readonly StoredTensor _codes,
        _magnitudes;

    internal Int8Projection(Tensor codes, Tensor magnitudes, ScalarType originalType, Weight? bias)
        : base(codes.size(0), codes.size(1), codes.device, originalType, bias) =>
        (_codes, _magnitudes) = (new("The codes of an int8 matrix", codes), new("The scales of an int8 matrix", magnitudes));

    /// <summary>Quantizes a matrix, some rows at a time.</summary>
    /// <param name="weight">W [O, I] of any floating-point type. It is neither kept nor disposed.</param>
    /// <param name="bias">b [O], or null.</param>
    /// <param name="device">Where the result lives; null for the device of the matrix.</param>
    public static Int8Projection Quantize(Tensor weight, Weight? bias = null, Device? device = null)
    {
        Nf4Projection.RequireMatrix(weight);
        const long elementsPerChunk = 4 << 20;
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        device ??= weight.device;
        var codes = HostMemory.AllocateApart(() => empty([.. weight.shape], ScalarType.Int8, device));
        var magnitudes = empty([weight.size(0)], ScalarType.Float32, device);
        var step = Math.Max(1, elementsPerChunk / Math.Max(1, weight.size(1)));
        for (long start = 0; start < weight.size(0); start += step)
        {
            using var inner = NewDisposeScope();
            var count = Math.Min(step, weight.size(0) - start);
            var piece = weight.narrow(0, start, count).to(ScalarType.Float32);
            var largest = piece.abs().amax([1], keepdim: true);
            magnitudes.narrow(0, start, count).copy_(largest.squeeze(1));
            // A row of zeros has no scale; its codes are zero in any case.
            codes
                .narrow(0, start, count)
                .copy_(piece.mul(Scalars.Of(Largest)).div_(largest.masked_fill(largest.eq(Scalars.Zero), Scalars.One)).round_());
        }
        return new(codes.MoveToOuterDisposeScope(), magnitudes.MoveToOuterDisposeScope(), weight.dtype, bias);
    }

    /// <inheritdoc/>
    public override QuantizationKind Kind => QuantizationKind.Int8;

    /// <inheritdoc/>
    public override IReadOnlyList<StoredTensor> Stored => [_codes, _magnitudes];

    /// <inheritdoc/>
    public override long ByteCount => OutputSize * InputSize + sizeof(float) * OutputSize;

    internal static Int8Projection Read(
        CheckpointWeights files,
        string name,
        long outputs,
        long inputs,
        ScalarType originalType,
        Weight? bias
    )
    {
        using var scope = NewDisposeScope();
        if (files.Find(name + FormatSuffix) is { } format)
        {
            using var value = files.TakeStored(format.Name, ScalarType.Byte, [.. format.Shape]).cpu();
            if (value.numel() != 1 || value.item<byte>() != 0)
                throw new CheckpointException(
                    $"{format.File}: '{format.Name}' is not 0, but only unpermuted rows are supported. Save the model with a newer "
                        + "bitsandbytes."
                );
        }
        return new(
            files.TakeStored(name + ".weight", ScalarType.Int8, outputs, inputs),
            files.TakeStored(name + ScaleSuffix, ScalarType.Float32, outputs),
            originalType,
            bias
        );
    }

    private protected override Tensor Dequantize((long Start, long Count) rows, (long Start, long Count) columns)
    {
        using var scope = NewDisposeScope();
        var scales = _magnitudes.Value.narrow(0, rows.Start, rows.Count).div(Scalars.Of(Largest)).unsqueeze(1);
        if (Device.type == DeviceType.CPU)
        {
            var result = empty([rows.Count, columns.Count], ScalarType.Float32);
            Int8Kernel.Dequantize(
                NativeTensor.GetPointer(_codes.Value),
                NativeTensor.GetPointer(scales),
                InputSize,
                rows,
                columns,
                NativeTensor.GetPointer(result)
            );
            return result.MoveToOuterDisposeScope();
        }
        return _codes
            .Value.narrow(0, rows.Start, rows.Count)
            .narrow(1, columns.Start, columns.Count)
            .to(ScalarType.Float32)
            .contiguous()
            .mul_(scales)
            .MoveToOuterDisposeScope();
    }

    private protected override unsafe RowProduct.RowReader? OpenRows()
    {
        if (Device.type != DeviceType.CPU)
            return null;
        nint codes = NativeTensor.GetPointer(_codes.Value),
            magnitudes = NativeTensor.GetPointer(_magnitudes.Value);
        return (row, target) =>
            StoredNumbers.Widen((sbyte*)codes + row * InputSize, ((float*)magnitudes)[row] / Largest, InputSize, target);
    }

    internal override IEnumerable<TensorToWrite> ToStoredTensors(string name)
    {
        yield return TensorToWrite.Of(name + ".weight", _codes.Value);
        yield return TensorToWrite.Of(name + ScaleSuffix, _magnitudes.Value);
        yield return new(name + FormatSuffix, ScalarType.Byte, [], () => zeros([], ScalarType.Byte));
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _codes.Dispose();
        _magnitudes.Dispose();
    }
}
