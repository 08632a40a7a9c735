using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>
/// A frozen matrix in the blocks of a GGUF file, which stay where they are in the mapped file: a base in 4 bits trains in the memory of
/// 4 bits. Its numbers are exactly those of the file.
/// </summary>
internal sealed unsafe class GgufProjection : QuantizedProjection
{
    private readonly GgufMatrix _matrix;

    internal GgufProjection(GgufMatrix matrix, long outputs, long inputs, Weight? bias)
        : base(outputs, inputs, CPU, ScalarType.Float32, bias) => _matrix = matrix;

    /// <inheritdoc/>
    public override QuantizationKind Kind => QuantizationKind.Keep;

    /// <summary>The type of the blocks.</summary>
    public GgufType StoredType => _matrix.Info.Type;

    /// <summary>None: the blocks belong to the file.</summary>
    public override IReadOnlyList<StoredTensor> Stored => [];

    /// <inheritdoc/>
    public override long ByteCount => _matrix.ByteCount;

    private protected override int TileStep => GgufFormat.LargeBlock;

    private protected override Tensor Dequantize((long Start, long Count) rows, (long Start, long Count) columns)
    {
        var result = empty([rows.Count, columns.Count], ScalarType.Float32);
        _matrix.Decode(rows, columns, (float*)NativeTensor.GetPointer(result));
        return result;
    }

    private protected override Tensor? MultiplyFew(Tensor rows, (long Start, long Count) outputs)
    {
        if (rows.size(0) > 1 || GgufFormat.BlockSize(StoredType) == 1)
            return base.MultiplyFew(rows, outputs);
        using var scope = NewDisposeScope();
        var sums = rows.reshape(-1, GgufBlocks.PartSize).sum(1);
        var of = NativeTensor.GetPointer(sums);
        return RowProduct
            .Multiply(rows, outputs.Count, (long output, float* x, float* y) => *y = _matrix.Dot(outputs.Start + output, x, (float*)of))
            .MoveToOuterDisposeScope();
    }

    private protected override RowProduct.RowReader? OpenRows() => (row, target) => _matrix.DecodeRow(row, (0, InputSize), target);

    internal override IEnumerable<TensorToWrite> ToStoredTensors(string name) =>
        throw new ConfigurationException(
            $"Cannot write '{name}' in bitsandbytes' layout because it is stored in {GgufFormat.Name(StoredType)} blocks. Load the "
                + "model with quantization nf4 or int8 instead of keep."
        );

    /// <summary>Does nothing: the blocks belong to the file.</summary>
    public override void Dispose() { }
}
