using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads the header of one GGUF file and validates it: counts and lengths are checked against the file size before anything is allocated,
/// names and keys must be unique, and each tensor must start right after the one before it.
/// </summary>
internal sealed class GgufHeader
{
    // The longest lists in use are merges, about half a million.
    private const int MaxListItems = 1 << 22,
        MaxTextBytes = 1 << 26,
        LeastKeyBytes = 13,
        LeastTensorBytes = 33;

    private static readonly UTF8Encoding s_strict = new(false, throwOnInvalidBytes: true);

    private readonly FileStream _stream;
    private readonly string _path;
    private readonly byte[] _small = new byte[8];
    private readonly Dictionary<string, object> _keys = new(StringComparer.Ordinal);
    private readonly OrderedDictionary<string, (GgufTensorInfo Info, long Offset)> _tensors = new(StringComparer.Ordinal);

    private GgufHeader(FileStream stream, string path) => (_stream, _path) = (stream, path);

    /// <summary>The metadata: numbers in their own type, bool, string, or an array of one of these.</summary>
    public IReadOnlyDictionary<string, object> Keys => _keys;

    /// <summary>Every tensor with the byte where it starts, in file order.</summary>
    public IReadOnlyDictionary<string, (GgufTensorInfo Info, long Offset)> Tensors => _tensors;

    /// <summary>Reads a file's header.</summary>
    /// <exception cref="CheckpointException">The file is missing, damaged, or breaks a rule of the format.</exception>
    public static GgufHeader Read(string path)
    {
        using var stream = SafetensorsHeader.OpenFile(path, bufferSize: 1 << 16);
        var header = new GgufHeader(stream, path);
        try
        {
            header.ReadAll();
        }
        catch (Exception e) when (e is IOException or OverflowException or ShapeException or DecoderFallbackException)
        {
            throw Bad(path, e is EndOfStreamException ? "it is truncated inside its header" : e.Message.TrimEnd('.'), e);
        }
        return header;
    }

    /// <summary>Makes the error for a file that breaks a rule of the format.</summary>
    public static CheckpointException Bad(string path, string what, Exception? inner = null) =>
        new($"{path} is not a valid GGUF file: {what}. Download it again, or convert the model again.", inner);

    private CheckpointException Bad(string what) => Bad(_path, what);

    private void ReadAll()
    {
        if (_stream.Length < 24 || UInt32() != GgufFormat.Magic)
            throw Bad("it does not start with 'GGUF'");
        var version = UInt32();
        if (BinaryPrimitives.ReverseEndianness(version) is 2 or 3)
            throw Bad("it is big-endian, but only little-endian files are supported");
        if (version is not (2 or GgufFormat.Version))
            throw Bad($"it has version {version}, but only versions 2 and 3 are supported");
        var (tensors, keys) = (Count(LeastTensorBytes, "tensors"), Count(LeastKeyBytes, "keys"));
        for (var i = 0L; i < keys; i++)
            ReadKey();
        var alignment = Alignment();
        var infos = new List<(GgufTensorInfo Info, long Offset)>();
        for (var i = 0L; i < tensors; i++)
            infos.Add((ReadTensorInfo(), Int64()));
        Place(infos, alignment);
    }

    private void ReadKey()
    {
        var key = Text(s_strict);
        if (key.Length == 0)
            throw Bad("it has a key without a name");
        if (!_keys.TryAdd(key, Value((int)UInt32(), key)))
            throw Bad($"it has the key '{key}' twice");
    }

    private long Alignment()
    {
        if (!_keys.TryGetValue("general.alignment", out var given))
            return GgufFormat.Alignment;
        return given is uint alignment and >= 8 and <= 1 << 20 && alignment % 8 == 0
            ? alignment
            : throw Bad($"general.alignment is {given}, but it must be a multiple of 8");
    }

    private void Place(List<(GgufTensorInfo Info, long Offset)> infos, long alignment)
    {
        var (start, expected, end) = (GgufFormat.Padded(_stream.Position, alignment), 0L, 0L);
        foreach (var (info, offset) in infos)
        {
            if (offset != expected)
                throw Bad($"'{info.Name}' starts at {offset}, but the tensors before it end at {expected}");
            if (!_tensors.TryAdd(info.Name, (info, checked(start + offset))))
                throw Bad($"it has the tensor '{info.Name}' twice");
            end = checked(start + offset + info.ByteCount);
            if (end > _stream.Length)
                throw Bad($"it is truncated: '{info.Name}' ends at byte {end}, but the file has {_stream.Length} bytes");
            expected = checked(expected + GgufFormat.Padded(info.ByteCount, alignment));
        }
        // Some writers leave out the padding after the last tensor.
        if (infos.Count > 0 && _stream.Length != end && _stream.Length != checked(start + expected))
            throw Bad($"it has {_stream.Length} bytes, but its tensors end at byte {start + expected}");
    }

    private GgufTensorInfo ReadTensorInfo()
    {
        var name = Text(s_strict);
        if (Encoding.UTF8.GetByteCount(name) is 0 or > GgufFormat.MaxNameBytes)
            throw Bad($"the tensor name '{name}' is empty or longer than {GgufFormat.MaxNameBytes} bytes");
        var dimensions = UInt32();
        if (dimensions is 0 or > GgufFormat.MaxDimensions)
            throw Bad($"'{name}' has {dimensions} dimensions, but it must have 1 to {GgufFormat.MaxDimensions}");
        var shape = new long[dimensions];
        for (var i = shape.Length - 1; i >= 0; i--)
        {
            shape[i] = Int64();
            if (shape[i] < 1)
                throw Bad($"'{name}' has a dimension of {shape[i]}");
        }
        var number = UInt32();
        var type = (GgufType)number;
        if (number > int.MaxValue || !Enum.IsDefined(type))
            throw new CheckpointException(
                $"{_path}: the tensor '{name}' has the type {GgufFormat.Name((int)Math.Min(number, int.MaxValue))}, which is not "
                    + $"supported. Use a file with one of {GgufFormat.Supported}."
            );
        if (shape[^1] % GgufFormat.BlockSize(type) != 0)
            throw Bad(
                $"'{name}' has rows of {shape[^1]} numbers, which is not a multiple of the {GgufFormat.BlockSize(type)} in a block "
                    + $"of {GgufFormat.Name(type)}"
            );
        return new GgufTensorInfo(name, type, shape);
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
            GgufFormat.Bool => Flag(Bytes(1)[0], key),
            GgufFormat.Text => Text(Encoding.UTF8),
            GgufFormat.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(Bytes(8)),
            GgufFormat.Int64 => Int64(),
            GgufFormat.Float64 => BinaryPrimitives.ReadDoubleLittleEndian(Bytes(8)),
            GgufFormat.List => ReadList(key),
            _ => throw Bad($"'{key}' has the unknown value type {type}"),
        };

    private object ReadList(string key) =>
        (int)UInt32() switch
        {
            GgufFormat.UInt8 => Numbers<byte>(key),
            GgufFormat.Int8 => Numbers<sbyte>(key),
            GgufFormat.UInt16 => Numbers<ushort>(key),
            GgufFormat.Int16 => Numbers<short>(key),
            GgufFormat.UInt32 => Numbers<uint>(key),
            GgufFormat.Int32 => Numbers<int>(key),
            GgufFormat.Float32 => Numbers<float>(key),
            GgufFormat.Bool => Array.ConvertAll(Numbers<byte>(key), value => Flag(value, key)),
            GgufFormat.Text => Texts(key),
            GgufFormat.UInt64 => Numbers<ulong>(key),
            GgufFormat.Int64 => Numbers<long>(key),
            GgufFormat.Float64 => Numbers<double>(key),
            GgufFormat.List => throw Bad($"'{key}' is a list of lists, which is not supported"),
            var type => throw Bad($"'{key}' is a list of the unknown value type {type}"),
        };

    private T[] Numbers<T>(string key)
        where T : unmanaged
    {
        var items = new T[ListCount(Marshal.SizeOf<T>(), key)];
        _stream.ReadExactly(MemoryMarshal.AsBytes(items.AsSpan()));
        return items;
    }

    private string[] Texts(string key)
    {
        var count = ListCount(sizeof(long), key);
        // Grown as it is read, so a wrong count allocates nothing.
        var items = new List<string>();
        while (items.Count < count)
            items.Add(Text(Encoding.UTF8));
        return [.. items];
    }

    private long ListCount(int leastBytes, string key)
    {
        var count = Count(leastBytes, $"'{key}'");
        return count <= MaxListItems ? count : throw Bad($"it claims {count} items of '{key}', but at most {MaxListItems} are read");
    }

    /// <summary>Reads a count of items, each of which needs at least a number of the remaining bytes.</summary>
    private long Count(int leastBytes, string what)
    {
        var count = Int64();
        return count >= 0 && count <= (_stream.Length - _stream.Position) / leastBytes
            ? count
            : throw Bad($"it claims {count} items of {what}, which do not fit into its {_stream.Length} bytes");
    }

    private string Text(Encoding encoding)
    {
        var length = Int64();
        if (length < 0 || length > Math.Min(_stream.Length - _stream.Position, MaxTextBytes))
            throw Bad($"it claims a string of {length} bytes at byte {_stream.Position}");
        if (length == 0)
            return "";
        var bytes = new byte[length];
        _stream.ReadExactly(bytes);
        return encoding.GetString(bytes);
    }

    private bool Flag(byte value, string key) => value <= 1 ? value == 1 : throw Bad($"'{key}' is a boolean, but its value is {value}");

    private uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Bytes(4));

    private long Int64() => BinaryPrimitives.ReadInt64LittleEndian(Bytes(8));

    private ReadOnlySpan<byte> Bytes(int count)
    {
        _stream.ReadExactly(_small, 0, count);
        return _small.AsSpan(0, count);
    }
}
