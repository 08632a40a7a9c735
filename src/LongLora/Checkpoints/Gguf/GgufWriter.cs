using System.Text;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>A tensor to write, created in fp32 only when its turn comes.</summary>
internal sealed record GgufTensor(GgufTensorInfo Info, Func<Tensor> Value);

/// <summary>Writes GGUF files atomically, with one tensor in memory at a time.</summary>
internal static unsafe class GgufWriter
{
    // A multiple of every block.
    private const int PieceElements = 1 << 21;

    /// <summary>Writes one file.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="keys">The metadata, in order: numbers, bool, string, an array of these, or a list of int, float or string.</param>
    /// <param name="tensors">What to write, in order.</param>
    public static void Write(string path, IReadOnlyList<(string Key, object Value)> keys, IReadOnlyList<GgufTensor> tensors)
    {
        foreach (var tensor in tensors)
        {
            if (
                Encoding.UTF8.GetByteCount(tensor.Info.Name) > GgufFormat.MaxNameBytes
                || tensor.Info.Shape.Count is 0 or > GgufFormat.MaxDimensions
            )
                throw new ShapeException(
                    $"'{tensor.Info.Name}' [{string.Join(", ", tensor.Info.Shape)}] cannot be stored in GGUF: names can have at "
                        + $"most {GgufFormat.MaxNameBytes} bytes, and tensors 1 to {GgufFormat.MaxDimensions} dimensions."
                );
        }
        AtomicFile.Write(path, stream =>
        {
            using (var w = new BinaryWriter(stream, Encoding.UTF8, leaveOpen: true))
                WriteHeader(w, keys, tensors);
            Pad(stream);
            foreach (var tensor in tensors)
            {
                WriteData(stream, tensor);
                Pad(stream);
            }
        });
    }

    private static void WriteHeader(BinaryWriter w, IReadOnlyList<(string Key, object Value)> keys, IReadOnlyList<GgufTensor> tensors)
    {
        w.Write(GgufFormat.Magic);
        w.Write(GgufFormat.Version);
        w.Write((long)tensors.Count);
        w.Write((long)keys.Count);
        foreach (var (key, value) in keys)
        {
            Text(w, key);
            Value(w, value);
        }
        var offset = 0L;
        foreach (var (info, _) in tensors)
        {
            Text(w, info.Name);
            w.Write(info.Shape.Count);
            foreach (var size in info.Shape.Reverse())
                w.Write(size);
            w.Write((int)info.Type);
            w.Write(offset);
            offset += GgufFormat.Padded(info.ByteCount);
        }
    }

    private static void Value(BinaryWriter w, object value)
    {
        switch (value)
        {
            case uint number:
                w.Write(GgufFormat.UInt32);
                w.Write(number);
                break;
            case int number:
                w.Write(GgufFormat.Int32);
                w.Write(number);
                break;
            case ulong number:
                w.Write(GgufFormat.UInt64);
                w.Write(number);
                break;
            case float number:
                w.Write(GgufFormat.Float32);
                w.Write(number);
                break;
            case bool flag:
                w.Write(GgufFormat.Bool);
                w.Write(flag);
                break;
            case string text:
                w.Write(GgufFormat.Text);
                Text(w, text);
                break;
            case byte number:
                w.Write(GgufFormat.UInt8);
                w.Write(number);
                break;
            case sbyte number:
                w.Write(GgufFormat.Int8);
                w.Write(number);
                break;
            case ushort number:
                w.Write(GgufFormat.UInt16);
                w.Write(number);
                break;
            case short number:
                w.Write(GgufFormat.Int16);
                w.Write(number);
                break;
            case long number:
                w.Write(GgufFormat.Int64);
                w.Write(number);
                break;
            case double number:
                w.Write(GgufFormat.Float64);
                w.Write(number);
                break;
            case Array list:
                Items(w, list, list.GetType().GetElementType()!);
                break;
            case IReadOnlyList<int> list:
                List(w, GgufFormat.Int32, list, w.Write);
                break;
            case IReadOnlyList<float> list:
                List(w, GgufFormat.Float32, list, w.Write);
                break;
            case IReadOnlyList<string> list:
                List(w, GgufFormat.Text, list, text => Text(w, text));
                break;
            default:
                throw new ArgumentException($"Cannot store {value.GetType().Name} in GGUF metadata.", nameof(value));
        }
    }

    // Checks the item type itself, because a cast treats a list of uint as a list of int.
    private static void Items(BinaryWriter w, Array list, Type type)
    {
        if (type == typeof(string))
            List(w, GgufFormat.Text, (string[])list, text => Text(w, text));
        else if (type == typeof(bool))
            List(w, GgufFormat.Bool, (bool[])list, w.Write);
        else
        {
            var code =
                type == typeof(byte) ? GgufFormat.UInt8
                : type == typeof(sbyte) ? GgufFormat.Int8
                : type == typeof(ushort) ? GgufFormat.UInt16
                : type == typeof(short) ? GgufFormat.Int16
                : type == typeof(uint) ? GgufFormat.UInt32
                : type == typeof(int) ? GgufFormat.Int32
                : type == typeof(float) ? GgufFormat.Float32
                : type == typeof(ulong) ? GgufFormat.UInt64
                : type == typeof(long) ? GgufFormat.Int64
                : type == typeof(double) ? GgufFormat.Float64
                : throw new ArgumentException($"Cannot store a list of {type.Name} in GGUF metadata.", nameof(type));
            w.Write(GgufFormat.List);
            w.Write(code);
            w.Write((long)list.Length);
            var bytes = new byte[Buffer.ByteLength(list)];
            Buffer.BlockCopy(list, 0, bytes, 0, bytes.Length);
            w.Write(bytes);
        }
    }

    private static void List<T>(BinaryWriter w, int type, IReadOnlyList<T> list, Action<T> write)
    {
        w.Write(GgufFormat.List);
        w.Write(type);
        w.Write((long)list.Count);
        foreach (var item in list)
            write(item);
    }

    private static void Text(BinaryWriter w, string text)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        w.Write((long)bytes.Length);
        w.Write(bytes);
    }

    private static void WriteData(Stream stream, GgufTensor tensor)
    {
        var (info, make) = tensor;
        if (GgufFormat.BlockSize(info.Type) == 1)
        {
            var type = info.Type switch
            {
                GgufType.F16 => ScalarType.Float16,
                GgufType.Bf16 => ScalarType.BFloat16,
                _ => ScalarType.Float32,
            };
            CheckpointShards.WriteData(new TensorToWrite(info.Name, type, info.Shape, () => InRange(info, make(), type)), piece =>
                stream.Write(piece)
            );
            return;
        }
        // A scale is at least the largest number by the largest code, so it fits into 16 bits where this does.
        var largestCode = info.Type == GgufType.Q8_0 ? 127 : 1;
        var numbers = new float[PieceElements];
        var blocks = new byte[PieceElements / GgufFormat.BlockSize(info.Type) * GgufFormat.BlockBytes(info.Type)];
        var filled = 0;
        CheckpointShards.WriteData(
            new TensorToWrite(info.Name, ScalarType.Float32, info.Shape, () => InRange(info, make(), ScalarType.Float16, largestCode)),
            piece =>
            {
                for (var values = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(piece); values.Length > 0; )
                {
                    var count = Math.Min(values.Length, numbers.Length - filled);
                    values[..count].CopyTo(numbers.AsSpan(filled));
                    values = values[count..];
                    filled += count;
                    if (filled == numbers.Length)
                        Flush();
                }
            }
        );
        Flush();

        void Flush()
        {
            var bytes = blocks.AsSpan(0, (int)GgufFormat.Bytes(info.Type, filled));
            GgufEncoder.Encode(info.Type, numbers.AsSpan(0, filled), bytes);
            stream.Write(bytes);
            filled = 0;
        }
    }

    // The largest fp16 number is 65504; a larger weight would silently become infinite.
    private static Tensor InRange(GgufTensorInfo info, Tensor value, ScalarType type, double times = 1)
    {
        if (type != ScalarType.Float16 || value.numel() == 0)
            return value;
        using var scope = NewDisposeScope();
        var largest = value.abs().max().to(ScalarType.Float64).item<double>();
        return largest < 65504 * times
            ? value
            : throw new CheckpointException(
                $"Cannot write '{info.Name}' because it has a number of magnitude {largest:G4}, which {GgufFormat.Name(info.Type)} cannot "
                    + "represent. Export as bf16 or f32."
            );
    }

    private static void Pad(Stream stream) => stream.Write(stackalloc byte[(int)(GgufFormat.Padded(stream.Position) - stream.Position)]);
}
