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
        return RowProduct.Multiply(rows, outputs.Count, MakeWriter(outputs.Start));
    }

    /// <inheritdoc/>
    public override RowProduct.OutputWriter? FindRowWriter(FeatureSlice? outputs) =>
        GgufFormat.BlockSize(StoredType) == 1 ? base.FindRowWriter(outputs) : MakeWriter(outputs?.Start ?? 0);

    private RowProduct.OutputWriter MakeWriter(long start) => (first, count, x, y) => _matrix.Dots(start + first, count, x, GetSums(x), y);

    [ThreadStatic]
    private static PinnedBuffer? s_sums;

    // Each thread sums for itself, which takes less time than to wait for one that does.
    private float* GetSums(float* x)
    {
        if (!GgufBlocks.HasShift(StoredType))
            return null;
        var sums = (s_sums ??= new()).Get(InputSize / GgufBlocks.PartSize);
        GgufBlocks.SumParts(x, InputSize, sums);
        return sums;
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
