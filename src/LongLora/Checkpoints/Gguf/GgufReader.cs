using System.Buffers.Binary;
using System.Text;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A GGUF file (version 2 or 3), read by the format's rules and nothing taken on trust: counts and lengths are held against what is
/// really there before anything is allocated; names and keys occur once; each tensor lies where the sizes before it say, and the file
/// ends with the last one. Types that are not among <see cref="GgufType"/> are refused.
/// </summary>
public sealed class GgufReader
{
    private readonly Dictionary<string, object> _keys = new(StringComparer.Ordinal);
    private readonly OrderedDictionary<string, (GgufTensorInfo Info, long Offset)> _tensors = new(StringComparer.Ordinal);
    private readonly FileStream _stream;
    private readonly byte[] _small = new byte[8];

    private GgufReader(FileStream stream, string path) => (_stream, Path) = (stream, path);

    /// <summary>Path of the file.</summary>
    public string Path { get; }

    /// <summary>The metadata: numbers in their own type, bool, string, or a list of one of these.</summary>
    public IReadOnlyDictionary<string, object> Keys => _keys;

    /// <summary>Every tensor by name, in the file's order.</summary>
    public IReadOnlyDictionary<string, GgufTensorInfo> Tensors { get; private set; } = new Dictionary<string, GgufTensorInfo>();

    /// <summary>Reads and checks a file's header.</summary>
    /// <exception cref="CheckpointException">The file is missing, damaged, or breaks a rule of the format.</exception>
    public static GgufReader Read(string path)
    {
        using var stream = SafetensorsHeader.OpenFile(path, bufferSize: 1 << 16);
        var reader = new GgufReader(stream, path);
        try
        {
            reader.ReadHeader();
        }
        catch (Exception e) when (e is IOException or OverflowException or ShapeException)
        {
            throw reader.Bad(e.Message.TrimEnd('.'), e);
        }
        return reader;
    }

    /// <summary>A key's value.</summary>
    /// <exception cref="CheckpointException">It is missing or of another type.</exception>
    public T Get<T>(string key) =>
        _keys.TryGetValue(key, out var value)
            ? value is T typed
                ? typed
                : throw Bad($"'{key}' is {value.GetType().Name}, but {typeof(T).Name} is needed")
            : throw Bad($"'{key}' is missing");

    /// <summary>A tensor in fp32.</summary>
    /// <exception cref="CheckpointException">There is none of that name.</exception>
    public unsafe Tensor Open(string name)
    {
        if (!_tensors.TryGetValue(name, out var place))
            throw Bad($"there is no tensor '{name}'.{NearestName.Hint(name, _tensors.Keys)}".TrimEnd('.'));
        using var stream = SafetensorsHeader.OpenFile(Path);
        stream.Position = place.Offset;
        var bytes = new byte[place.Info.ByteCount];
        stream.ReadExactly(bytes);
        long[] shape = [.. place.Info.Shape];
        if (place.Info.Type == GgufType.Q8)
        {
            var numbers = new float[place.Info.ElementCount];
            GgufBlocks.Decode(bytes, numbers);
            return tensor(numbers).reshape(shape);
        }
        fixed (byte* data = bytes)
        {
            var type = place.Info.Type switch
            {
                GgufType.F16 => ScalarType.Float16,
                GgufType.Bf16 => ScalarType.BFloat16,
                _ => ScalarType.Float32,
            };
            using var borrowed = NativeTensor.FromMemory((nint)data, type, shape);
            return borrowed.to(ScalarType.Float32, copy: true);
        }
    }

    private void ReadHeader()
    {
        if (_stream.Length < 24 || UInt32() != GgufFormat.Magic)
            throw Bad("it does not begin with 'GGUF'");
        var version = UInt32();
        if (version is not (2 or GgufFormat.Version))
            throw Bad($"it is of version {version}; 2 and 3 are known");
        var (tensors, keys) = (Count(24, "tensors"), Count(13, "keys"));
        for (var i = 0L; i < keys; i++)
        {
            var key = Text();
            if (!_keys.TryAdd(key, Value((int)UInt32(), key)))
                throw Bad($"it has the key '{key}' twice");
        }
        var alignment = _keys.TryGetValue("general.alignment", out var given) ? Convert.ToInt64(given, null) : GgufFormat.Alignment;
        if (alignment is < 8 or > 1 << 20 || alignment % 8 != 0)
            throw Bad($"general.alignment is {alignment}");
        var infos = new List<(GgufTensorInfo Info, long Offset)>();
        for (var i = 0L; i < tensors; i++)
            infos.Add((TensorInfo(), Int64()));
        Place(infos, alignment);
    }

    private void Place(List<(GgufTensorInfo Info, long Offset)> infos, long alignment)
    {
        long Padded(long bytes) => checked((bytes + alignment - 1) / alignment * alignment);
        var (start, expected) = (Padded(_stream.Position), 0L);
        foreach (var (info, offset) in infos)
        {
            if (offset != expected)
                throw Bad($"'{info.Name}' lies at {offset}, but the tensors before it end at {expected}");
            if (!_tensors.TryAdd(info.Name, (info, start + offset)))
                throw Bad($"it has the tensor '{info.Name}' twice");
            if (info.ByteCount > _stream.Length - start - offset)
                throw Bad(
                    $"it is truncated: '{info.Name}' ends at {start + offset + info.ByteCount}, and the file is {_stream.Length} bytes long"
                );
            expected = checked(expected + Padded(info.ByteCount));
        }
        Tensors = _tensors.ToDictionary(t => t.Key, t => t.Value.Info);
        if (infos.Count > 0 && start + expected != _stream.Length)
            throw Bad($"it is {_stream.Length} bytes long, but its tensors end at {start + expected}");
    }

    private GgufTensorInfo TensorInfo()
    {
        var name = Text();
        if (Encoding.UTF8.GetByteCount(name) is 0 or > GgufFormat.MaxNameBytes)
            throw Bad($"the tensor name '{name}' is empty or longer than {GgufFormat.MaxNameBytes} bytes");
        var dimensions = UInt32();
        if (dimensions is 0 or > GgufFormat.MaxDimensions)
            throw Bad($"'{name}' has {dimensions} dimensions");
        var shape = new long[dimensions];
        for (var i = shape.Length - 1; i >= 0; i--)
        {
            shape[i] = Int64();
            if (shape[i] < 1)
                throw Bad($"'{name}' has a dimension of {shape[i]}");
        }
        var type = (int)UInt32();
        if (!Enum.IsDefined((GgufType)type))
            throw Bad(
                $"'{name}' is of type {type}; the supported ones are "
                    + $"{string.Join(", ", Enum.GetValues<GgufType>().Select(t => $"{(int)t} ({t})"))}"
            );
        if (type == (int)GgufType.Q8 && shape[^1] % GgufFormat.BlockSize != 0)
            throw Bad($"'{name}' has rows of {shape[^1]} numbers, no multiple of Q8_0's {GgufFormat.BlockSize}");
        return new GgufTensorInfo(name, (GgufType)type, shape);
    }

    private object Value(int type, string key) =>
        type switch
        {
            GgufFormat.UInt8 => Bytes(1)[0],
            GgufFormat.Int8 => (sbyte)Bytes(1)[0],
            GgufFormat.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(Bytes(2)),
            GgufFormat.Int16 => BinaryPrimitives.ReadInt16LittleEndian(Bytes(2)),
            GgufFormat.UInt32 => UInt32(),
            GgufFormat.Int32 => (int)UInt32(),
            GgufFormat.Float32 => BinaryPrimitives.ReadSingleLittleEndian(Bytes(4)),
            GgufFormat.Bool => Bytes(1)[0] <= 1 ? _small[0] == 1 : throw Bad($"'{key}' is a flag of value {_small[0]}"),
            GgufFormat.Text => Text(),
            GgufFormat.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(8)),
            GgufFormat.Int64 => Int64(),
            GgufFormat.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(Bytes(8)),
            GgufFormat.List => ReadList(key),
            _ => throw Bad($"'{key}' is of type {type}, which the format does not have"),
        };

    private object ReadList(string key)
    {
        var type = (int)UInt32();
        if (type == GgufFormat.List)
            throw Bad($"'{key}' is a list of lists");
        var count = Count(
            type switch
            {
                GgufFormat.UInt8 or GgufFormat.Int8 or GgufFormat.Bool => 1,
                GgufFormat.UInt16 or GgufFormat.Int16 => 2,
                GgufFormat.UInt32 or GgufFormat.Int32 or GgufFormat.Float32 => 4,
                _ => 8,
            },
            key
        );
        IReadOnlyList<T> Items<T>()
        {
            var list = new List<T>();
            for (var i = 0L; i < count; i++)
                list.Add((T)Value(type, key));
            return list;
        }
        return type switch
        {
            GgufFormat.Int32 => Items<int>(),
            GgufFormat.Float32 => Items<float>(),
            GgufFormat.Text => Items<string>(),
            _ => Items<object>(),
        };
    }

    /// <summary>A number of things, each of which takes at least so many bytes of what is left.</summary>
    private long Count(int leastBytes, string what)
    {
        var count = Int64();
        return count >= 0 && count <= (_stream.Length - _stream.Position) / leastBytes
            ? count
            : throw Bad($"it claims {count} items of {what}, more than fit into its {_stream.Length} bytes");
    }

    private string Text()
    {
        var length = Int64();
        if (length < 0 || length > Math.Min(_stream.Length - _stream.Position, 1 << 26))
            throw Bad($"it claims a text of {length} bytes at byte {_stream.Position}");
        var bytes = new byte[length];
        _stream.ReadExactly(bytes);
        return Encoding.UTF8.GetString(bytes);
    }

    private uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4));

    private long Int64() => BinaryPrimitives.ReadInt64LittleEndian(Bytes(8));

    private ReadOnlySpan<byte> Bytes(int count)
    {
        _stream.ReadExactly(_small, 0, count);
        return _small.AsSpan(0, count);
    }

    private CheckpointException Bad(string what, Exception? inner = null) => new($"{Path} is no valid GGUF file: {what}.", inner);
}
