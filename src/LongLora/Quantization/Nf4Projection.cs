using System.Numerics;
using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>
/// A matrix in NF4 with double quantization (QLoRA, arXiv 2305.14314): 4 bits per weight, 8 bits per block of 64 weights, and 32 bits per
/// 256 blocks, which is 0.516 bytes per weight. The numbers are the same as those of bitsandbytes.
/// </summary>
/// <remarks>
/// On CUDA, tensor operations look up the codes. The result is exact, but the memory traffic is a few times that of a special kernel. This
/// path is tested on the CPU and has not run on a GPU yet.
/// </remarks>
internal sealed unsafe class Nf4Projection : QuantizedProjection
{
    private readonly StoredTensor _codes,
        _scales;
    private readonly StoredTensor? _nestedScales;
    private readonly float _offset;
    private readonly float[] _values,
        _scaleValues;
    private readonly int _blockSize,
        _nestedBlockSize;

    // Kept on the device, so that no lookup waits for a copy. The first lookup makes them.
    private Tensor? _pairTable,
        _scaleTable;

    internal Nf4Projection(
        Nf4Tensors tensors,
        long outputs,
        long inputs,
        ScalarType originalType,
        Weight? bias,
        float[]? values = null,
        float[]? scaleValues = null,
        int blockSize = Nf4Codebook.BlockSize,
        int nestedBlockSize = Nf4Codebook.NestedBlockSize
    )
        : base(outputs, inputs, tensors.Codes.device, originalType, bias)
    {
        (_values, _scaleValues) = (values ?? Nf4Codebook.Values, scaleValues ?? Nf4Codebook.ScaleValues);
        (_blockSize, _nestedBlockSize) = (blockSize, nestedBlockSize);
        (_codes, _scales) = (new("The codes of an NF4 matrix", tensors.Codes), new("The scales of an NF4 matrix", tensors.Scales));
        _nestedScales = tensors.NestedScales is { } nested ? new("The nested scales of an NF4 matrix", nested) : null;
        _offset = tensors.Offset;
    }

    /// <summary>Quantizes a matrix.</summary>
    /// <param name="weight">W [O, I] of any floating-point type. It is neither kept nor disposed.</param>
    /// <param name="bias">b [O], or null.</param>
    /// <param name="device">Where the result lives; null for the device of the matrix. The work is done on the CPU.</param>
    public static Nf4Projection Quantize(Tensor weight, Weight? bias = null, Device? device = null)
    {
        RequireMatrix(weight);
        using var scope = NewDisposeScope();
        var made = Nf4Quantizer.Quantize(weight);
        device ??= weight.device;
        return new(
            new(made.Codes.to(device), made.Scales.to(device), made.NestedScales!.to(device), made.Offset),
            weight.size(0),
            weight.size(1),
            weight.dtype,
            bias
        );
    }

    /// <inheritdoc/>
    public override QuantizationKind Kind => QuantizationKind.Nf4;

    /// <inheritdoc/>
    public override IReadOnlyList<StoredTensor> Stored => _nestedScales is null ? [_codes, _scales] : [_codes, _scales, _nestedScales];

    /// <inheritdoc/>
    public override long ByteCount => Stored.Sum(t => t.ByteCount);

    internal static void RequireMatrix(Tensor weight)
    {
        if (weight.dim() != 2)
            throw new ShapeException($"Cannot quantize a tensor of shape [{string.Join(", ", weight.shape)}]. It must be a matrix [O, I].");
    }

    private protected override Tensor Dequantize((long Start, long Count) rows, (long Start, long Count) columns) =>
        Device.type == DeviceType.CPU ? DequantizeOnCpu(rows, columns, Nf4Kernel.Best) : DequantizeByLookup(rows, columns);

    internal Tensor DequantizeOnCpu((long Start, long Count) rows, (long Start, long Count) columns, Nf4KernelLevel level)
    {
        var result = empty([rows.Count, columns.Count], ScalarType.Float32);
        Nf4Kernel.Dequantize(OpenMemory(), _values, _scaleValues, InputSize, rows, columns, (float*)NativeTensor.GetPointer(result), level);
        return result;
    }

    private protected override RowProduct.RowReader? OpenRows()
    {
        if (Device.type != DeviceType.CPU)
            return null;
        var memory = OpenMemory();
        return (row, target) =>
            Nf4Kernel.DequantizeRange(memory, _values, _scaleValues, row * InputSize, InputSize, target, Nf4Kernel.Best);
    }

    private Nf4Memory OpenMemory()
    {
        static nint Data(StoredTensor? tensor) => tensor is null ? 0 : NativeTensor.GetPointer(tensor.Value);
        var plain = _nestedScales is null;
        return new(
            Data(_codes),
            plain ? 0 : Data(_scales),
            plain ? Data(_scales) : 0,
            Data(_nestedScales),
            _offset,
            BitOperations.Log2((uint)_blockSize),
            BitOperations.Log2((uint)_nestedBlockSize)
        );
    }

    /// <summary>The same numbers by tensor operations, for any device: dequantizes whole blocks and cuts out the rectangle.</summary>
    internal Tensor DequantizeByLookup((long Start, long Count) rows, (long Start, long Count) columns)
    {
        using var scope = NewDisposeScope();
        long begin = rows.Start * InputSize,
            end = begin + rows.Count * InputSize;
        long firstBlock = begin / _blockSize,
            blocks = (end + _blockSize - 1) / _blockSize - firstBlock;
        var bytes = _codes.Value.view(-1);
        long firstByte = firstBlock * _blockSize / 2,
            byteCount = Math.Min(blocks * _blockSize / 2, bytes.numel() - firstByte);

        // [bytes] -> [bytes, 2] -> [weights]
        var values = (_pairTable ??= MakePairTable()).index_select(0, bytes.narrow(0, firstByte, byteCount).to(ScalarType.Int32)).view(-1);
        var scales = ComputeScales(firstBlock, blocks);
        if (values.numel() == blocks * _blockSize)
            values = values.view(blocks, _blockSize).mul_(scales.unsqueeze(1)).view(-1);
        else // the last block of the matrix is shorter
            values.mul_(scales.repeat_interleave(_blockSize).narrow(0, 0, values.numel()));
        return values
            .narrow(0, begin - firstBlock * _blockSize, end - begin)
            .view(rows.Count, InputSize)
            .narrow(1, columns.Start, columns.Count)
            .contiguous()
            .MoveToOuterDisposeScope();
    }

    private Tensor ComputeScales(long first, long count)
    {
        if (_nestedScales?.Value is not { } nested)
            return _scales.Value.narrow(0, first, count);
        long firstGroup = first / _nestedBlockSize,
            groups = (first + count + _nestedBlockSize - 1) / _nestedBlockSize - firstGroup;
        var factors = nested
            .narrow(0, firstGroup, groups)
            .unsqueeze(1)
            .expand(groups, _nestedBlockSize)
            .reshape(-1)
            .narrow(0, first - firstGroup * _nestedBlockSize, count);
        return (_scaleTable ??= tensor(_scaleValues, device: Device).DetachFromDisposeScope())
            .index_select(0, _scales.Value.narrow(0, first, count).to(ScalarType.Int32))
            .mul_(factors)
            .add_(Scalars.Of(_offset), Scalars.One);
    }

    // A byte holds two weights.
    private Tensor MakePairTable()
    {
        var pairs = new float[256 * 2];
        for (var i = 0; i < 256; i++)
            (pairs[2 * i], pairs[2 * i + 1]) = (_values[i >> 4], _values[i & 15]);
        return tensor(pairs, [256, 2], device: Device).DetachFromDisposeScope();
    }

    internal override IEnumerable<TensorToWrite> ToStoredTensors(string name)
    {
        var weight = name + ".weight";
        yield return TensorToWrite.Of(weight, _codes.Value);
        yield return TensorToWrite.Of(weight + Nf4Format.Scales, _scales.Value);
        yield return Nf4Format.MakeTable(weight + Nf4Format.Values, _values);
        if (_nestedScales?.Value is { } nested)
        {
            yield return TensorToWrite.Of(weight + Nf4Format.NestedScales, nested);
            yield return Nf4Format.MakeTable(weight + Nf4Format.NestedValues, _scaleValues);
        }
        yield return Nf4Format.MakeState(
            weight + Nf4Format.StateSuffix,
            new(_blockSize, OriginalType, OutputSize, InputSize, _nestedScales is null ? null : _nestedBlockSize, _offset)
        );
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        _codes.Dispose();
        _scales.Dispose();
        _nestedScales?.Dispose();
        _pairTable?.Dispose();
        _scaleTable?.Dispose();
    }
}
