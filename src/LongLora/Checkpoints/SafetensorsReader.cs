using System.Buffers.Binary;
using System.Globalization;
using System.IO.MemoryMappedFiles;
using System.Text.Json;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads a safetensors file (format of huggingface/safetensors: u64 header length, JSON header, data). The file is mapped, not read: a
/// tensor costs memory only where it is touched. Everything that the header claims is checked before it is believed.
/// </summary>
public sealed unsafe class SafetensorsReader : ITensorSource
{
    private const long LongestHeader = 100_000_000; // the format's own limit

    private readonly Dictionary<string, (TensorInfo Info, long Offset, long Size)> _entries = [];
    private readonly MemoryMappedFile? _file;
    private readonly MemoryMappedViewAccessor? _view;
    private readonly byte* _data;

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="headerOnly">Reads names, shapes and types and maps nothing; <see cref="Open"/> is then refused.</param>
    /// <exception cref="CheckpointException">The file is missing, truncated, or its header contradicts itself; the message says what and where.</exception>
    public SafetensorsReader(string path, bool headerOnly = false)
    {
        Path = path;
        long length;
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            length = stream.Length;
            DataStart = ReadHeader(stream, length);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read '{path}': {e.Message}", e);
        }
        Tensors = _entries.ToDictionary(e => e.Key, e => e.Value.Info);
        if (headerOnly || length == DataStart)
            return;
        // Private pages: nothing that is done to a tensor by mistake can reach the file.
        _file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _data);
        _data += _view.PointerOffset;
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; }

    /// <summary>The header's <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; private set; } = new Dictionary<string, string>();

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => _entries.Values.Sum(e => e.Size);

    private long DataStart { get; }

    /// <inheritdoc/>
    public Tensor Open(string name)
    {
        if (!_entries.TryGetValue(name, out var entry))
            throw new CheckpointException($"{Path}: there is no tensor '{name}'.");
        if (entry.Size == 0)
            return empty([.. entry.Info.Shape], entry.Info.Type);
        if (_data is null)
            throw new InvalidOperationException($"{Path} was opened for its header alone.");
        var address = (IntPtr)(_data + DataStart + entry.Offset);
        var elementSize = ElementSize(entry.Info.Type);
        if (address % elementSize == 0)
            return NativeTensor.FromMemory(address, entry.Info.Type, entry.Info.Shape);
        var copy = empty([.. entry.Info.Shape], entry.Info.Type);
        Buffer.MemoryCopy((void*)address, (void*)NativeTensor.Data(copy), entry.Size, entry.Size);
        return copy;
    }

    private long ReadHeader(FileStream stream, long fileLength)
    {
        Span<byte> prefix = stackalloc byte[8];
        if (fileLength < 8)
            throw Damaged($"it has {fileLength} bytes, fewer than the 8 of the header's length");
        stream.ReadExactly(prefix);
        var headerLength = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (headerLength > LongestHeader || (long)headerLength > fileLength - 8)
            throw Damaged($"its header claims {headerLength} bytes, but the file has {fileLength}; it is truncated or no safetensors file");
        var header = new byte[headerLength];
        stream.ReadExactly(header);
        try
        {
            using var json = JsonDocument.Parse(header, new JsonDocumentOptions { AllowTrailingCommas = false });
            if (json.RootElement.ValueKind != JsonValueKind.Object)
                throw Damaged("its header is not a JSON object");
            foreach (var entry in json.RootElement.EnumerateObject())
                ReadEntry(entry);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw Damaged($"its header is not understood: {e.Message}", e);
        }
        var dataStart = 8 + (long)headerLength;
        CheckLayout(fileLength - dataStart);
        return dataStart;
    }

    private void ReadEntry(JsonProperty entry)
    {
        if (entry.Name == "__metadata__")
        {
            Metadata = entry.Value.EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetString() ?? "");
            return;
        }
        var code = entry.Value.GetProperty("dtype").GetString();
        var type = SafetensorsTypes.FromCode(code)
            ?? throw Damaged($"'{entry.Name}' has the type '{code}'; supported are {string.Join(", ", SafetensorsTypes.Codes)}");
        var shape = entry.Value.GetProperty("shape").EnumerateArray().Select(x => x.GetInt64()).ToArray();
        var offsets = entry.Value.GetProperty("data_offsets").EnumerateArray().Select(x => x.GetInt64()).ToArray();
        if (offsets.Length != 2 || offsets[0] < 0 || offsets[1] < offsets[0])
            throw Damaged($"'{entry.Name}' has the offsets [{string.Join(", ", offsets)}]");
        long size = ElementSize(type);
        try
        {
            foreach (var dimension in shape)
                size = checked(size * (dimension >= 0 ? dimension : throw new OverflowException()));
        }
        catch (OverflowException)
        {
            throw Damaged($"'{entry.Name}' has the shape [{string.Join(", ", shape)}]");
        }
        if (size != offsets[1] - offsets[0])
            throw Damaged($"'{entry.Name}' [{string.Join(", ", shape)}] of {code} takes {size} bytes, but its offsets span {offsets[1] - offsets[0]}");
        if (!_entries.TryAdd(entry.Name, (new TensorInfo(entry.Name, type, shape, Path), offsets[0], size)))
            throw Damaged($"'{entry.Name}' occurs twice");
    }

    // Tensors must fill the data part one after the other without gap or overlap.
    private void CheckLayout(long available)
    {
        long end = 0;
        foreach (var (info, offset, size) in _entries.Values.OrderBy(e => e.Offset).ThenBy(e => e.Size))
        {
            if (offset != end)
                throw Damaged($"'{info.Name}' begins at byte {offset} of the data, where {end} is expected");
            end = offset + size;
        }
        if (end != available)
        {
            throw Damaged(end > available
                ? string.Create(CultureInfo.InvariantCulture, $"its tensors take {end} bytes, but only {available} are there: it is truncated")
                : string.Create(CultureInfo.InvariantCulture, $"its tensors take {end} bytes, but {available} are there"));
        }
    }

    private CheckpointException Damaged(string what, Exception? inner = null) =>
        new($"{Path} cannot be used: {what}. Fetch the file again.", inner);

    private static long ElementSize(ScalarType type) => SafetensorsTypes.Size(type);

    /// <summary>Unmaps the file; tensors that were opened must not be used any more.</summary>
    public void Dispose()
    {
        if (_view is null)
            return;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file!.Dispose();
    }
}

/// <summary>The element types of safetensors files.</summary>
internal static class SafetensorsTypes
{
    private static readonly (string Code, ScalarType Type, int Size)[] s_types =
    [
        ("F64", ScalarType.Float64, 8), ("F32", ScalarType.Float32, 4), ("F16", ScalarType.Float16, 2), ("BF16", ScalarType.BFloat16, 2),
        ("I64", ScalarType.Int64, 8), ("I32", ScalarType.Int32, 4), ("I16", ScalarType.Int16, 2), ("I8", ScalarType.Int8, 1),
        ("U8", ScalarType.Byte, 1), ("BOOL", ScalarType.Bool, 1),
    ];

    internal static IEnumerable<string> Codes => s_types.Select(t => t.Code);

    internal static ScalarType? FromCode(string? code) => Array.FindIndex(s_types, t => t.Code == code) is >= 0 and var i ? s_types[i].Type : null;

    internal static string ToCode(ScalarType type) => Array.FindIndex(s_types, t => t.Type == type) is >= 0 and var i
        ? s_types[i].Code
        : throw new ShapeException($"safetensors has no type for {type}.");

    internal static int Size(ScalarType type) => s_types[Array.FindIndex(s_types, t => t.Type == type)].Size;
}
