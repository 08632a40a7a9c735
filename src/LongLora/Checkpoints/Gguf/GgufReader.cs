using System.IO.MemoryMappedFiles;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A GGUF file (version 2 or 3), read by the format's rules and nothing taken on trust: counts and lengths are held against what is
/// really there before anything is allocated; names and keys occur once; each tensor lies where the sizes before it say, and the file
/// ends with the last one. Types that are not among <see cref="GgufType"/> are refused by name. The header alone is read; the file is
/// mapped when its first tensor is.
/// </summary>
public sealed class GgufReader : IDisposable
{
    // So many numbers at a time: what is decoded stays in the cache until it is written away.
    private const long PieceElements = 1 << 16;

    private readonly GgufHeader _header;
    private readonly Lock _mapping = new();
    private MemoryMappedFile? _file;
    private MemoryMappedViewAccessor? _view;
    private nint _data;

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

    /// <summary>Every tensor by name, in the file's order.</summary>
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
    /// <exception cref="CheckpointException">There is none of that name.</exception>
    public unsafe Tensor Open(string name)
    {
        var (info, address) = Find(name);
        LibTorch.EnsureLoaded();
        var result = empty([.. info.Shape], ScalarType.Float32);
        Decode(info.Type, address, info.ElementCount, (float*)NativeTensor.GetPointer(result));
        return result;
    }

    /// <summary>Where a tensor's bytes lie in the mapped file; valid until the reader is disposed.</summary>
    internal (GgufTensorInfo Info, nint Address) Find(string name)
    {
        if (!_header.Tensors.TryGetValue(name, out var place))
            throw new CheckpointException($"{Path} has no tensor '{name}'.{NearestName.Hint(name, Tensors.Keys)}");
        return (place.Info, Map() + (nint)place.Offset);
    }

    /// <summary>Writes consecutive numbers, whole blocks, in fp32.</summary>
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

    /// <summary>Unmaps the file. Nothing that came from it may be used afterwards.</summary>
    public void Dispose()
    {
        lock (_mapping)
        {
            if (_data != 0)
                _view!.SafeMemoryMappedViewHandle.ReleasePointer();
            _data = 0;
            _view?.Dispose();
            _file?.Dispose();
        }
    }

    private unsafe nint Map()
    {
        lock (_mapping)
        {
            if (_data != 0)
                return _data;
            try
            {
                // Read-only, as for safetensors: not counted against memory, however large the file.
                _file = MemoryMappedFile.CreateFromFile(
                    SafetensorsHeader.OpenFile(Path),
                    null,
                    0,
                    MemoryMappedFileAccess.Read,
                    HandleInheritability.None,
                    leaveOpen: false
                );
                _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
            {
                throw new CheckpointException($"Cannot map {Path} into memory: {e.Message}", e);
            }
            byte* start = null;
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            return _data = (nint)start + (nint)_view.PointerOffset;
        }
    }
}
