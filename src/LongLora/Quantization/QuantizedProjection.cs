using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Quantization;

// N rows, I inputs, O outputs

/// <summary>
/// A frozen quantized matrix. It is dequantized when it is used, one tile at a time that fits into the CPU's cache, and libtorch multiplies
/// it. Outside autograd the whole dequantized matrix never exists.
/// </summary>
/// <remarks>
/// Inside autograd, the graph keeps its own dequantized matrix until the backward pass, because later calls would overwrite a shared
/// buffer. Training recomputes one part of one block at a time (<c>BlockPass</c>), so at most the dequantized q, k and v, or gate and up,
/// of one block exist at once.
/// </remarks>
internal abstract unsafe class QuantizedProjection : IProjection, IDisposable
{
    // 32 MiB in fp32: about the last-level cache, and large enough to make the cost of a call negligible. On CUDA usually the whole matrix.
    private const long TileElements = 8 << 20,
        CudaTileElements = 64 << 20;

    private protected QuantizedProjection(long outputs, long inputs, Device device, ScalarType originalType, Weight? bias) =>
        (OutputSize, InputSize, Device, OriginalType, Bias) = (outputs, inputs, device, originalType, bias);

    /// <summary>The format.</summary>
    public abstract QuantizationKind Kind { get; }

    /// <summary>O.</summary>
    public long OutputSize { get; }

    /// <summary>I.</summary>
    public long InputSize { get; }

    /// <summary>The type of the weights before quantization, which a merged model gets again.</summary>
    public ScalarType OriginalType { get; }

    /// <summary>b [O], not quantized; or null.</summary>
    public Weight? Bias { get; }

    /// <inheritdoc/>
    public abstract IReadOnlyList<StoredTensor> Stored { get; }

    /// <summary>Bytes of the matrix with its scales.</summary>
    public abstract long ByteCount { get; }

    private protected Device Device { get; }

    /// <summary>Tiles are multiples of it, so that none begins inside a block where rows are whole blocks.</summary>
    private protected virtual int TileStep => 64;

    private long TileLength => Device.type == DeviceType.CUDA ? CudaTileElements : TileElements;

    /// <inheritdoc/>
    public Tensor Forward(Tensor rows, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var (start, count) = outputs is { } o ? (o.Start, o.Count) : (0, OutputSize);
        var bias = Bias?.Value.narrow(0, start, count).to(rows.dtype);
        if (is_grad_enabled() && (rows.requires_grad || bias is { requires_grad: true }))
            return Products.Linear(rows, Widen((start, count), (0, InputSize), rows.dtype), bias).MoveToOuterDisposeScope();
        var result = RowProduct.Takes(rows) ? MultiplyFew(rows, (start, count)) : null;
        if (result is null)
        {
            result = empty([rows.size(0), count], rows.dtype, rows.device);
            ForEachTile(count, InputSize, (first, size) =>
                Products.WriteTimes(result.narrow(1, first, size), rows, Widen((start + first, size), (0, InputSize), rows.dtype).t())
            );
        }
        if (bias is not null)
            result.add_(bias, Scalars.One);
        return result.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public virtual RowProduct.OutputWriter? FindRowWriter(FeatureSlice? outputs)
    {
        if (OpenRows() is not { } read)
            return null;
        var (start, count) = outputs is { } o ? (o.Start, o.Count) : (0, OutputSize);
        return RowProduct.MakeWriter([1, InputSize], count, (output, target) => read(start + output, target));
    }

    /// <inheritdoc/>
    public void AccumulateGradients(Tensor rows, Tensor gradient, FeatureSlice? outputs = null)
    {
        if (Bias is { IsTrained: true })
            outputs.Of(Bias.GetGradient(), 0).add_(gradient.sum(0, type: ScalarType.Float32), Scalars.One);
    }

    /// <inheritdoc/>
    public Tensor ComputeInputGradient(Tensor gradient, FeatureSlice? inputs = null, FeatureSlice? outputs = null)
    {
        using var scope = NewDisposeScope();
        var (start, count) = inputs is { } i ? (i.Start, i.Count) : (0, InputSize);
        var matrixRows = outputs is { } o ? (o.Start, o.Count) : (0, OutputSize);
        var result = empty([gradient.size(0), count], gradient.dtype, gradient.device);
        // Tiles of columns instead of rows: each column of the result is written once.
        ForEachTile(count, matrixRows.Item2, (first, size) =>
            Products.WriteTimes(result.narrow(1, first, size), gradient, Widen(matrixRows, (start + first, size), gradient.dtype))
        );
        return result.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor ToDense() => Widen((0, OutputSize), (0, InputSize), ScalarType.Float32);

    /// <summary>A rectangle of the matrix as a new fp32 tensor on the matrix's device.</summary>
    private protected abstract Tensor Dequantize((long Start, long Count) rows, (long Start, long Count) columns);

    /// <summary>x Wᵀ for few rows, row by row of W; null if the matrix is not on the CPU.</summary>
    /// <param name="rows">x [N, I], as <see cref="RowProduct.Takes"/> says.</param>
    /// <param name="outputs">First output and number of outputs.</param>
    private protected virtual Tensor? MultiplyFew(Tensor rows, (long Start, long Count) outputs) =>
        OpenRows() is { } read ? RowProduct.Multiply(rows, outputs.Count, (row, target) => read(outputs.Start + row, target)) : null;

    /// <summary>Dequantizes single rows, on several threads at once; null if the matrix is not on the CPU.</summary>
    private protected abstract RowProduct.RowReader? OpenRows();

    /// <summary>
    /// The format in which a checkpoint stores the matrix <paramref name="weight"/>; None if it is not quantized or not a matrix.
    /// </summary>
    /// <param name="files">The checkpoint.</param>
    /// <param name="weight">Name with <c>.weight</c>.</param>
    public static QuantizationKind FindStoredKind(IModelFiles files, string weight) =>
        files.Tensors.ContainsKey(weight + Nf4Format.StateSuffix) ? QuantizationKind.Nf4
        : files.Tensors.TryGetValue(weight, out var info) && info.Type == ScalarType.Int8 ? QuantizationKind.Int8
        : files.Tensors.ContainsKey(weight + Mxfp4Projection.BlocksSuffix) ? QuantizationKind.Mxfp4
        : QuantizationKind.None;

    /// <summary>The name of the matrix that a tensor of numbers belongs to: the tensor's own but for MXFP4.</summary>
    internal static string GetMatrixName(string tensor) =>
        tensor.EndsWith(Mxfp4Projection.BlocksSuffix, StringComparison.Ordinal) ? tensor[..^Mxfp4Projection.BlocksSuffix.Length] : tensor;

    /// <summary>The tensors of a checkpoint that hold this matrix.</summary>
    /// <param name="name">Module name without <c>.weight</c>.</param>
    internal abstract IEnumerable<TensorToWrite> ToStoredTensors(string name);

    /// <inheritdoc/>
    public abstract void Dispose();

    private Tensor Widen((long Start, long Count) rows, (long Start, long Count) columns, ScalarType type)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        return Dequantize(rows, columns).to(type).MoveToOuterDisposeScope();
    }

    private void ForEachTile(long total, long width, Action<long, long> action)
    {
        var tile = Math.Max(TileStep, TileLength / width / TileStep * TileStep);
        for (long start = 0; start < total; start += tile)
        {
            using var scope = NewDisposeScope();
            action(start, Math.Min(tile, total - start));
        }
    }
}
