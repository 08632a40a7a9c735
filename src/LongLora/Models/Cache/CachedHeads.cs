using LongLora.Attention;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>Keys or values of one block: slots for tokens, in a chosen number type.</summary>
internal sealed unsafe class CachedHeads : IDisposable
{
    private readonly Tensor _numbers;
    private readonly Tensor? _scales;
    private readonly ScalarType _computeType;
    private readonly int _rows;

    /// <summary>Empty slots.</summary>
    /// <param name="model">Determines heads, device and the type to compute in.</param>
    /// <param name="block">Index of the block.</param>
    /// <param name="capacity">C.</param>
    /// <param name="rows">B.</param>
    /// <param name="type">Number type; null for the type that the model computes in.</param>
    internal CachedHeads(CausalLanguageModel model, int block, long capacity, int rows, KeyValueType? type)
    {
        (_computeType, _rows) = (model.ComputeType, rows);
        var stored = type switch
        {
            null => _computeType,
            KeyValueType.F32 => ScalarType.Float32,
            KeyValueType.BF16 => ScalarType.BFloat16,
            KeyValueType.Int8 => ScalarType.Int8,
            _ => throw new ConfigurationException($"The cache type is {type}, which is unknown. Use F32, BF16 or Int8."),
        };
        var plan = model.Config.GetLayer(block);
        Tensor Make(long size, ScalarType kind) =>
            HostMemory
                .AllocateApart(() => empty([rows, plan.KeyValueHeadCount, capacity, size], kind, model.Device))
                .DetachFromDisposeScope();
        _numbers = Make(plan.HeadSize, stored);
        if (stored == ScalarType.Int8)
            _scales = Make(1, ScalarType.Float32);
    }

    /// <summary>Bytes of all slots.</summary>
    internal long ByteCount => CountBytes(_numbers) + (_scales is null ? 0 : CountBytes(_scales));

    /// <summary>Writes heads [1, J, l, K] to the slots from <paramref name="start"/> on.</summary>
    internal void Write(int row, long start, Tensor part)
    {
        if (SmallWork.Fits(part) && _numbers.dtype == ScalarType.Float32 && part.size(2) == 1)
        {
            WriteToken(row, start, part);
            return;
        }
        var slots = SelectSlots(_numbers, row, start, part.size(2));
        if (_scales is null)
        {
            slots.copy_(part);
            return;
        }
        using var scope = NewDisposeScope();
        // A head of zeros has the scale 0 and is read as zeros.
        var largest = part.abs().amax([-1], keepdim: true).to(ScalarType.Float32);
        SelectSlots(_scales, row, start, part.size(2)).copy_(largest.div(Scalars.Of(127)));
        slots.copy_(part.mul(largest.reciprocal().mul_(Scalars.Of(127)).nan_to_num(0, 0, 0)).round_());
    }

    // One token, without views.
    private void WriteToken(int row, long slot, Tensor part)
    {
        var (heads, size) = (part.size(1), part.size(3));
        var from = (float*)NativeTensor.GetAddress(part);
        var to = (float*)NativeTensor.GetAddress(_numbers) + row * _numbers.stride(0) + slot * _numbers.stride(2);
        for (var head = 0L; head < heads; head++)
            new Span<float>(from + head * size, (int)size).CopyTo(new(to + head * _numbers.stride(1), (int)size));
        GC.KeepAlive(part);
    }

    /// <summary>The heads in some slots, [1, J, n, K], as views.</summary>
    internal StoredHeads Show(int row, long start, long count) =>
        new(SelectSlots(_numbers, row, start, count), _scales is null ? null : SelectSlots(_scales, row, start, count));

    /// <summary>
    /// The heads in some slots, [1, J, n, K]: a view if they are stored in the type that the model computes in, else a copy.
    /// </summary>
    internal Tensor Read(int row, long start, long count) => Show(row, start, count).Widen(_computeType);

    /// <summary>Copies the first slots of all rows from a cache with the same rows and number type.</summary>
    internal void CopyFrom(CachedHeads other, long count)
    {
        using var scope = NewDisposeScope();
        _numbers.narrow(2, 0, count).copy_(other._numbers.narrow(2, 0, count));
        _scales?.narrow(2, 0, count).copy_(other._scales!.narrow(2, 0, count));
    }

    private Tensor SelectSlots(Tensor all, int row, long start, long count) =>
        (_rows == 1 ? all : all.narrow(0, row, 1)).narrow(2, start, count);

    private static long CountBytes(Tensor tensor) => tensor.numel() * tensor.element_size();

    /// <inheritdoc/>
    public void Dispose()
    {
        _numbers.Dispose();
        _scales?.Dispose();
    }
}
