using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads a GGUF file (version 2 or 3) and validates it: counts and lengths are checked against the file size before anything is allocated,
/// names and keys must be unique, each tensor must start right after the one before it, and the file must end with the last one. Types that
/// are not in <see cref="GgufType"/> are refused by name. At first only the header is read; the file is memory-mapped when the first tensor
/// is opened.
/// </summary>
internal sealed class GgufReader : IDisposable
{
    // Numbers per chunk, so decoded numbers stay in the cache until they are written.
    private const long PieceElements = 1 << 16;

    private readonly GgufHeader _header;
    private readonly Lock _mapping = new();
    private MappedFile? _file;

    private GgufReader(GgufHeader header, string path)
    {
        (_header, Path) = (header, path);
        Tensors = new OrderedDictionary<string, GgufTensorInfo>(
            header.Tensors.Select(t => KeyValuePair.Create(t.Key, t.Value.Info)),
            StringComparer.Ordinal
        );
    }

    /// <summary>Path of the file.</summary>
    public string Path { get; }

    /// <summary>The metadata: numbers in their own type, bool, string, or an array of one of these.</summary>
    public IReadOnlyDictionary<string, object> Keys => _header.Keys;

    /// <summary>Every tensor by name, in file order.</summary>
    public IReadOnlyDictionary<string, GgufTensorInfo> Tensors { get; }

    /// <summary>Reads and checks a file's header.</summary>
    /// <exception cref="CheckpointException">The file is missing, damaged, or breaks a rule of the format.</exception>
    public static GgufReader Read(string path) => new(GgufHeader.Read(path), path);

    /// <summary>A key's value.</summary>
    /// <exception cref="CheckpointException">It is missing or of another type.</exception>
    public T Get<T>(string key) =>
        Keys.TryGetValue(key, out var value)
            ? value is T typed
                ? typed
                : throw GgufHeader.Bad(Path, $"'{key}' is {value.GetType().Name}, but it must be {typeof(T).Name}")
            : throw GgufHeader.Bad(Path, $"'{key}' is missing");

    /// <summary>A tensor in fp32, a copy.</summary>
    /// <exception cref="CheckpointException">There is no tensor with that name.</exception>
    public unsafe Tensor Open(string name)
    {
        var (info, address) = Find(name);
        LibTorch.EnsureLoaded();
        var result = empty([.. info.Shape], ScalarType.Float32);
        Decode(info.Type, address, info.ElementCount, (float*)NativeTensor.GetPointer(result));
        return result;
    }

    /// <summary>Address of a tensor's bytes in the mapped file; valid until the reader is disposed.</summary>
    internal (GgufTensorInfo Info, nint Address) Find(string name)
    {
        if (!_header.Tensors.TryGetValue(name, out var place))
            throw new CheckpointException($"{Path} has no tensor '{name}'.{NearestName.Hint(name, Tensors.Keys)}");
        return (place.Info, Map().Start + (nint)place.Offset);
    }

    /// <summary>Decodes whole blocks to fp32.</summary>
    internal static unsafe void Decode(GgufType type, nint from, long elements, float* to)
    {
        var (size, bytes) = (GgufFormat.BlockSize(type), GgufFormat.BlockBytes(type));
        for (var done = 0L; done < elements; done += PieceElements)
        {
            var count = (int)Math.Min(PieceElements, elements - done);
            GgufBlocks.Decode(
                type,
                new ReadOnlySpan<byte>((byte*)from + done / size * bytes, count / size * bytes),
                new Span<float>(to + done, count)
            );
        }
    }

    /// <summary>Unmaps the file. Tensors from it must not be used afterwards.</summary>
    public void Dispose()
    {
        lock (_mapping)
            _file?.Dispose();
    }

    private MappedFile Map()
    {
        lock (_mapping)
            return _file ??= new MappedFile(SafetensorsHeader.OpenFile(Path));
    }
}
