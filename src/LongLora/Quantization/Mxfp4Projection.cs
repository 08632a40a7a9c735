using LongLora.Checkpoints;
using LongLora.Layers;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Quantization;

// E experts, I inputs, O outputs

/// <summary>
/// One expert's matrix in MXFP4 (OCP Microscaling Formats 1.0), the format of the published gpt-oss: 32 numbers of 4 bits (E2M1) share a
/// power of two, which is 0.531 bytes per weight. It is read from a checkpoint and never made here.
/// </summary>
internal sealed unsafe class Mxfp4Projection : QuantizedProjection
{
    internal const string BlocksSuffix = "_blocks",
        ScalesSuffix = "_scales";

    private const int BlockSize = 32,
        BlockBytes = BlockSize / 2,
        ExponentBias = 127;

    // E2M1: one sign bit, two exponent bits, one mantissa bit.
    private static readonly float[] s_values = [0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0f, -0.5f, -1, -1.5f, -2, -3, -4, -6];

    // Those of all experts.
    private readonly StoredTensor _blocks,
        _scales;
    private readonly int _expert;

    // Kept on the device. The first lookup makes them.
    private Tensor? _pairTable,
        _scaleTable;

    private Mxfp4Projection(StoredTensor blocks, StoredTensor scales, int expert, long outputs, long inputs, ScalarType originalType)
        : base(outputs, inputs, blocks.Value.device, originalType, null) => (_blocks, _scales, _expert) = (blocks, scales, expert);

    /// <inheritdoc/>
    public override QuantizationKind Kind => QuantizationKind.Mxfp4;

    /// <summary>Those of all experts.</summary>
    public override IReadOnlyList<StoredTensor> Stored => [_blocks, _scales];

    /// <inheritdoc/>
    public override long ByteCount => (_blocks.ByteCount + _scales.ByteCount) / _blocks.Shape[0];

    /// <summary>The matrices of all experts of a stack.</summary>
    /// <param name="files">The checkpoint: <c>name_blocks</c> U8 [E, O, I / 32, 16], <c>name_scales</c> U8 [E, O, I / 32].</param>
    /// <param name="stack">The tensor that contains them.</param>
    /// <param name="experts">E.</param>
    /// <param name="originalType">The type of a merged model.</param>
    internal static IReadOnlyList<Mxfp4Projection> Read(CheckpointWeights files, ExpertStack stack, int experts, ScalarType originalType)
    {
        if (stack.Inputs % BlockSize != 0)
            throw new CheckpointException(
                $"Cannot read '{stack.Name}' in MXFP4 because its rows have {stack.Inputs} numbers, which are not whole blocks of "
                    + $"{BlockSize}."
            );
        using var scope = NewDisposeScope();
        var blocks = files.TakeStored(
            stack.Name + BlocksSuffix,
            ScalarType.Byte,
            experts,
            stack.Outputs,
            stack.Inputs / BlockSize,
            BlockBytes
        );
        var scales = files.TakeStored(stack.Name + ScalesSuffix, ScalarType.Byte, experts, stack.Outputs, stack.Inputs / BlockSize);
        return Split((blocks, scales), stack, originalType);
    }

    /// <summary>The matrices of all experts of a stack.</summary>
    /// <param name="all">U8 [E, O, I / 32, 16] and U8 [E, O, I / 32]; they belong to the matrices from now on.</param>
    /// <param name="stack">The tensor that contains them.</param>
    /// <param name="originalType">The type of a merged model.</param>
    internal static IReadOnlyList<Mxfp4Projection> Split((Tensor Blocks, Tensor Scales) all, ExpertStack stack, ScalarType originalType)
    {
        StoredTensor blocks = new($"The blocks of {stack.Name}", all.Blocks),
            scales = new($"The scales of {stack.Name}", all.Scales);
        return
        [
            .. Enumerable
                .Range(0, (int)blocks.Shape[0])
                .Select(e => new Mxfp4Projection(blocks, scales, e, stack.Outputs, stack.Inputs, originalType)),
        ];
    }

    private protected override Tensor Dequantize((long Start, long Count) rows, (long Start, long Count) columns)
    {
        using var scope = NewDisposeScope();
        // Whole blocks, from which the rectangle is cut out.
        long first = columns.Start / BlockSize,
            count = (columns.Start + columns.Count + BlockSize - 1) / BlockSize - first;
        var whole = Device.type == DeviceType.CPU ? WidenOnCpu(rows, first, count) : WidenByLookup(rows, first, count);
        return whole.narrow(1, columns.Start - first * BlockSize, columns.Count).contiguous().MoveToOuterDisposeScope();
    }

    private Tensor WidenOnCpu((long Start, long Count) rows, long firstBlock, long blocks)
    {
        var result = empty([rows.Count, blocks * BlockSize], ScalarType.Float32);
        var target = (float*)NativeTensor.GetPointer(result);
        var read = OpenBlocks();
        ThreadTeam.Run(rows.Count, 1, (first, size) =>
        {
            for (var row = first; row < first + size; row++)
                read(rows.Start + row, firstBlock, blocks, target + row * blocks * BlockSize);
        });
        return result;
    }

    private protected override RowProduct.RowReader? OpenRows()
    {
        if (Device.type != DeviceType.CPU)
            return null;
        var read = OpenBlocks();
        return (row, target) => read(row, 0, InputSize / BlockSize, target);
    }

    private delegate void BlockReader(long row, long firstBlock, long blocks, float* target);

    private BlockReader OpenBlocks()
    {
        var perRow = InputSize / BlockSize;
        var own = _expert * OutputSize * perRow;
        byte* bytes = (byte*)NativeTensor.GetPointer(_blocks.Value) + own * BlockBytes,
            scales = (byte*)NativeTensor.GetPointer(_scales.Value) + own;
        return (row, firstBlock, blocks, target) =>
        {
            fixed (float* values = s_values)
            {
                for (long block = 0; block < blocks; block++)
                {
                    var at = row * perRow + firstBlock + block;
                    var scale = MathF.ScaleB(1, scales[at] - ExponentBias);
                    var from = bytes + at * BlockBytes;
                    var to = target + block * BlockSize;
                    for (var i = 0; i < BlockBytes; i++)
                    {
                        to[2 * i] = values[from[i] & 15] * scale;
                        to[2 * i + 1] = values[from[i] >> 4] * scale;
                    }
                }
            }
        };
    }

    /// <summary>The same numbers by tensor operations, for any device.</summary>
    internal Tensor WidenByLookup((long Start, long Count) rows, long firstBlock, long blocks)
    {
        using var scope = NewDisposeScope();
        Tensor Part(StoredTensor all) =>
            all.Value.select(0, _expert).narrow(0, rows.Start, rows.Count).narrow(1, firstBlock, blocks).reshape(-1).to(ScalarType.Int32);
        var values = (_pairTable ??= MakePairTable()).index_select(0, Part(_blocks)).view(-1, BlockSize); // [bytes, 2] -> [blocks, 32]
        var scales = (_scaleTable ??= MakeScaleTable()).index_select(0, Part(_scales)).unsqueeze(1);
        return values.mul_(scales).view(rows.Count, blocks * BlockSize).MoveToOuterDisposeScope();
    }

    // A byte holds two numbers, the low half first.
    private Tensor MakePairTable()
    {
        var pairs = new float[256 * 2];
        for (var i = 0; i < 256; i++)
            (pairs[2 * i], pairs[2 * i + 1]) = (s_values[i & 15], s_values[i >> 4]);
        return tensor(pairs, [256, 2], device: Device).DetachFromDisposeScope();
    }

    private Tensor MakeScaleTable() =>
        tensor([.. Enumerable.Range(0, 256).Select(e => MathF.ScaleB(1, e - ExponentBias))], device: Device).DetachFromDisposeScope();

    internal override IEnumerable<TensorToWrite> ToStoredTensors(string name) =>
        throw new ConfigurationException(
            $"Cannot write '{name}' alone because MXFP4 stores all experts in one tensor. Export the model in another type."
        );

    /// <inheritdoc/>
    public override void Dispose()
    {
        _blocks.Dispose();
        _scales.Dispose();
        _pairTable?.Dispose();
        _scaleTable?.Dispose();
    }
}
