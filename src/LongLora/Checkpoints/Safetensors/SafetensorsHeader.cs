using System.Buffers.Binary;
using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// The header of a <c>.safetensors</c> file, without its data: an 8-byte little-endian length, then that many bytes of JSON with each
/// tensor's type, shape and offsets. Everything is checked here, before anything is mapped or allocated because the file claims it.
/// </summary>
internal sealed class SafetensorsHeader
{
    /// <summary>The longest header that is read: 100 MB, as in the format's own library.</summary>
    public const long MaxHeaderBytes = 100_000_000;

    internal const int PrefixBytes = 8;
    internal const string MetadataName = "__metadata__";
    private const int MaxDimensions = 64;

    private readonly Dictionary<string, long> _offsets = new(StringComparer.Ordinal);

    private SafetensorsHeader(string path, long fileBytes, long headerBytes) =>
        (Path, FileBytes, DataStart) = (path, fileBytes, PrefixBytes + headerBytes);

    /// <summary>Path of the file.</summary>
    public string Path { get; }

    /// <summary>Length of the whole file.</summary>
    public long FileBytes { get; }

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => FileBytes - DataStart;

    /// <summary>The file's notes (<c>__metadata__</c>), such as <c>format: pt</c>; empty if it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; private set; } = new Dictionary<string, string>();

    /// <summary>Every tensor by name, in the order of the data.</summary>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; private set; } = new Dictionary<string, TensorInfo>();

    internal long DataStart { get; }

    /// <summary>Reads and checks the header of a file. It maps nothing and reads no data.</summary>
    /// <exception cref="CheckpointException">The file does not exist, cannot be read, is damaged, or has an unsupported type.</exception>
    public static SafetensorsHeader Read(string path)
    {
        using var stream = OpenFile(path);
        return Read(stream, path);
    }

    internal static FileStream OpenFile(string path, int bufferSize = 0)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(
                File.Exists(path) ? $"Cannot read {path}: {e.Message}"
                    : Directory.Exists(path) ? $"Cannot read {path} because it is a folder. Give a file."
                    : $"{path} does not exist.",
                e
            );
        }
    }

    internal static SafetensorsHeader Read(FileStream stream, string path)
    {
        try
        {
            return ReadChecked(stream, path);
        }
        catch (IOException e)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    internal long GetOffset(string name) => _offsets[name];

    private static SafetensorsHeader ReadChecked(FileStream stream, string path)
    {
        var fileBytes = stream.Length;
        if (fileBytes < PrefixBytes)
            throw MakeError(
                path,
                $"the file has {fileBytes} bytes, fewer than the {PrefixBytes} bytes that a safetensors file starts with"
            );
        Span<byte> prefix = stackalloc byte[PrefixBytes];
        stream.ReadExactly(prefix);
        var claimed = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (claimed is < 2 or > MaxHeaderBytes)
            throw MakeError(
                path,
                $"the file claims a header of {claimed} bytes, but only 2 to {MaxHeaderBytes} are possible. It is damaged or not a "
                    + "safetensors file"
            );
        var headerBytes = (long)claimed;
        if (headerBytes > fileBytes - PrefixBytes)
            throw MakeError(
                path,
                $"the file is truncated: its header ends at byte {PrefixBytes + headerBytes}, but the file has only {fileBytes} "
                    + "bytes. Download it again"
            );

        var header = new SafetensorsHeader(path, fileBytes, headerBytes);
        try
        {
            header.Parse(stream, headerBytes);
        }
        catch (JsonException e)
        {
            throw MakeError(
                path,
                $"the header is not valid JSON ({e.Message.TrimEnd('.')}). The file is damaged or not a safetensors file",
                e
            );
        }
        return header;
    }

    private void Parse(FileStream stream, long headerBytes)
    {
        var entries = new List<(TensorInfo Info, long Begin, long End)>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        var tokens = new JsonTokens(stream, headerBytes);
        tokens.Expect(JsonTokenType.StartObject, "the header");
        while (tokens.ReadName() is { } name)
        {
            if (!names.Add(name))
                throw MakeError(Path, $"the header contains '{name}' twice");
            if (name == MetadataName)
                Metadata = ParseMetadata(ref tokens);
            else
                entries.Add(ParseEntry(ref tokens, name));
        }
        tokens.ExpectEnd();
        entries.Sort((a, b) => a.Begin != b.Begin ? a.Begin.CompareTo(b.Begin) : a.End.CompareTo(b.End));
        Tensors = CheckOffsets(entries);
    }

    private Dictionary<string, string> ParseMetadata(ref JsonTokens tokens)
    {
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        tokens.Expect(JsonTokenType.StartObject, MetadataName);
        while (tokens.ReadName() is { } key)
        {
            if (!metadata.TryAdd(key, tokens.ReadText($"__metadata__ '{key}'")))
                throw MakeError(Path, $"__metadata__ contains '{key}' twice");
        }
        return metadata;
    }

    private (TensorInfo Info, long Begin, long End) ParseEntry(ref JsonTokens tokens, string name)
    {
        string? type = null;
        List<long>? shape = null,
            offsets = null;
        tokens.Expect(JsonTokenType.StartObject, $"'{name}'");
        while (tokens.ReadName() is { } field)
        {
            var twice = field switch
            {
                "dtype" => Set(ref type, tokens.ReadText($"dtype of '{name}'")),
                "shape" => Set(ref shape, tokens.ReadIntegers($"shape of '{name}'", MaxDimensions)),
                "data_offsets" => Set(ref offsets, tokens.ReadIntegers($"data_offsets of '{name}'", 2)),
                _ => throw MakeError(Path, $"'{name}' has an unknown field '{field}'. The known fields are dtype, shape and data_offsets"),
            };
            if (twice)
                throw MakeError(Path, $"'{name}' has '{field}' twice");
        }
        if (type is null || shape is null || offsets is not { Count: 2 })
            throw MakeError(
                Path,
                $"'{name}' has no {(type is null ? "dtype" : shape is null ? "shape" : "data_offsets with two numbers")}"
            );
        if (SafetensorsTypes.FindType(type) is not { } scalar)
            throw MakeError(Path, $"'{name}' has type '{type}', which is not supported. The supported types are {SafetensorsTypes.Codes}");
        var info = new TensorInfo(name, scalar, shape, Path);
        CheckSize(info, type, offsets[0], offsets[1]);
        return (info, offsets[0], offsets[1]);
    }

    private static bool Set<T>(ref T? field, T value)
        where T : class
    {
        var twice = field is not null;
        field = value;
        return twice;
    }

    private void CheckSize(TensorInfo info, string type, long begin, long end)
    {
        var text = $"{type} [{string.Join(", ", info.Shape)}]";
        UInt128 bytes = (UInt128)SafetensorsTypes.GetSize(info.Type),
            span = bytes;
        foreach (var size in info.Shape)
        {
            bytes *= (UInt128)size;
            // Strides are computed as if a size of 0 were 1, and must fit as well.
            span *= (UInt128)Math.Max(size, 1);
            if (span > long.MaxValue)
                throw MakeError(Path, $"'{info.Name}', {text}, is larger than any file can be");
        }
        if (end < begin)
            throw MakeError(Path, $"'{info.Name}' ends at {end}, before it begins at {begin}");
        if ((UInt128)(end - begin) != bytes)
            throw MakeError(Path, $"'{info.Name}', {text}, needs {bytes} bytes, but its data_offsets [{begin}, {end}] span {end - begin}");
    }

    private OrderedDictionary<string, TensorInfo> CheckOffsets(List<(TensorInfo Info, long Begin, long End)> entries)
    {
        var tensors = new OrderedDictionary<string, TensorInfo>(entries.Count, StringComparer.Ordinal);
        var position = 0L;
        foreach (var (info, begin, end) in entries)
        {
            if (begin != position)
                throw MakeError(
                    Path,
                    $"'{info.Name}' begins at data byte {begin}, but the tensors before it end at {position}: the data "
                        + $"{(begin < position ? "overlaps" : "has a gap")}"
                );
            position = end;
            _offsets.Add(info.Name, begin);
            tensors.Add(info.Name, info);
        }
        if (position > DataBytes)
        {
            var first = entries.Find(e => e.End > DataBytes).Info.Name;
            throw MakeError(
                Path,
                $"the file is truncated: its header requires {(UInt128)DataStart + (UInt128)position} bytes, but it has "
                    + $"{FileBytes} bytes (the first incomplete tensor is '{first}'). Download it again"
            );
        }
        if (position < DataBytes)
            throw MakeError(
                Path,
                $"the file has {FileBytes} bytes, but its header describes {DataStart + position}: {DataBytes - position} bytes "
                    + "belong to no tensor"
            );
        return tensors;
    }

    private static CheckpointException MakeError(string path, string what, Exception? inner = null) => new($"{path}: {what}.", inner);
}
