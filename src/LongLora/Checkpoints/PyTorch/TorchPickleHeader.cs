using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// The header of a file of PyTorch's <c>torch.save</c> (<c>pytorch_model.bin</c>, <c>.pt</c>, <c>.pth</c>), without its data: a zip archive
/// with a pickle and one stored member per storage, or, before PyTorch 1.6, pickles followed by the storages. Everything is checked here,
/// before anything is mapped or allocated because the file claims it. Nothing in the file is executed (<see cref="TensorPickle"/>).
/// </summary>
/// <remarks>
/// The file must contain a dictionary of tensors, such as <c>model.state_dict()</c>, directly or under <c>state_dict</c>, <c>model</c>,
/// <c>model_state_dict</c> or <c>module</c>. Other content of the dictionary (counters, an optimizer's state) is ignored.
/// </remarks>
internal sealed class TorchPickleHeader
{
    /// <summary>The longest pickle that is read: 100 MB, one million tensors.</summary>
    public const long MaxPickleBytes = 100_000_000;

    private static readonly string[] s_wrappers = ["state_dict", "model", "model_state_dict", "module"];

    private readonly Dictionary<string, (PickledTensor View, long Offset)> _locations = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _aliases = new(StringComparer.Ordinal);

    private TorchPickleHeader(string path, long fileBytes) => (Path, FileBytes) = (path, fileBytes);

    /// <summary>Path of the file.</summary>
    public string Path { get; }

    /// <summary>Length of the whole file.</summary>
    public long FileBytes { get; }

    /// <summary>Whether the file has the format before PyTorch 1.6, which is not a zip archive.</summary>
    public bool IsLegacy { get; private init; }

    /// <summary>Every tensor by name, in file order.</summary>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; private set; } = new Dictionary<string, TensorInfo>();

    /// <summary>Tensors that share the data of an earlier one, such as a tied head, with the name of the earlier one.</summary>
    public IReadOnlyDictionary<string, string> Aliases => _aliases;

    /// <summary>Bytes of all tensors together; shared data counts once.</summary>
    public long DataBytes => Tensors.Values.Where(t => !_aliases.ContainsKey(t.Name)).Sum(t => t.ByteCount);

    /// <summary>Whether a file begins like a file of PyTorch: as a zip archive or a pickle.</summary>
    public static bool IsLikely(string path)
    {
        using var stream = SafetensorsHeader.OpenFile(path);
        Span<byte> start = stackalloc byte[9];
        var read = stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        // A safetensors file begins with the length of a text that begins with a brace.
        return read == start.Length && (IsZip(start[..4]) || start[0] == 0x80 && start[1] is >= 2 and <= 5 && start[8] != (byte)'{');
    }

    /// <summary>Reads and checks the header of a file. It maps nothing and reads no data.</summary>
    /// <exception cref="CheckpointException">The file does not exist, is damaged, or contains something other than tensors.</exception>
    public static TorchPickleHeader Read(string path)
    {
        try
        {
            using var stream = SafetensorsHeader.OpenFile(path, bufferSize: 1 << 16);
            Span<byte> start = stackalloc byte[4];
            var read = stream.ReadAtLeast(start, 4, throwOnEndOfStream: false);
            stream.Position = 0;
            return read == 4 && IsZip(start) ? ReadZip(stream, path) : ReadLegacy(stream, path);
        }
        catch (IOException e)
        {
            throw new CheckpointException($"Cannot read {path}: {e.Message}", e);
        }
    }

    /// <summary>A tensor's view and the offset of its storage in the file.</summary>
    internal (PickledTensor View, long Offset) Locate(string name) => _locations[name];

    private static bool IsZip(ReadOnlySpan<byte> start) => start.SequenceEqual("PK\x03\x04"u8);

    private static TorchPickleHeader ReadZip(FileStream stream, string path)
    {
        var zip = StoredZip.Read(stream, path);
        var pickles = zip.Members.Keys.Where(n => n == "data.pkl" || n.EndsWith("/data.pkl", StringComparison.Ordinal)).ToList();
        if (pickles.Count != 1)
        {
            throw new CheckpointException(
                zip.Members.Keys.Any(n => n.EndsWith("/constants.pkl", StringComparison.Ordinal))
                    ? $"{path} is a TorchScript program, not a checkpoint. Save its state_dict instead."
                    : $"{path} is a zip archive with {pickles.Count} files named data.pkl, but a file of PyTorch has exactly one."
            );
        }
        var folder = pickles[0][..^"data.pkl".Length];
        CheckByteOrder(stream, zip, folder, path);
        var (offset, bytes) = zip.Members[pickles[0]];
        if (bytes > MaxPickleBytes)
            throw new CheckpointException(
                $"{path}: {pickles[0]} claims {bytes} bytes, but at most {MaxPickleBytes} are read. The file is damaged or not a "
                    + "checkpoint."
            );
        stream.Position = offset;
        var header = new TorchPickleHeader(path, stream.Length);
        var root = TensorPickle.Read(new PickleInput(stream, bytes, path), path);
        header.Take(root, storage =>
        {
            var name = folder + "data/" + storage.Key;
            if (!zip.Members.TryGetValue(name, out var member))
                throw new CheckpointException(
                    $"{path} has no member '{name}', which its pickle refers to. The file is damaged. Download it again."
                );
            var needed = (UInt128)storage.Count * (UInt128)SafetensorsTypes.GetSize(TorchTypes.FindType(storage.Type));
            return needed <= (UInt128)member.Bytes
                ? member.Offset
                : throw new CheckpointException(
                    $"{path}: '{name}' has {member.Bytes} bytes, but {storage.Count} elements of {storage.Type} need {needed}. The "
                        + "file is damaged. Download it again."
                );
        });
        return header;
    }

    private static void CheckByteOrder(FileStream stream, StoredZip zip, string folder, string path)
    {
        if (!zip.Members.TryGetValue(folder + "byteorder", out var member))
            return; // PyTorch before 2.1 did not write it
        stream.Position = member.Offset;
        var order = new PickleInput(stream, member.Bytes, path).ReadText(Math.Min(member.Bytes, 16));
        if (order != "little")
            throw new CheckpointException(
                $"{path} has byte order '{order}', but only little-endian files are supported. Save it again on a little-endian machine."
            );
    }

    // Five pickles: magic number, version, the writer's machine, the tensors, and the storages' keys in order. Then the storages follow,
    // each with its length.
    private static TorchPickleHeader ReadLegacy(FileStream stream, string path)
    {
        const string magic = "large integer";
        object? Next() => TensorPickle.Read(new PickleInput(stream, Math.Min(MaxPickleBytes, stream.Length - stream.Position), path), path);
        if (Next() is not magic || Next() is not 1001L || Next() is not PickledDictionary machine)
            throw new CheckpointException($"{path} is a pickle that PyTorch did not write. Use a file that torch.save wrote.");
        if (machine.Items.GetValueOrDefault("little_endian") is not true)
            throw new CheckpointException(
                $"{path} has big-endian byte order, but only little-endian files are supported. Save it again on a little-endian machine."
            );
        var root = Next();
        if (Next() is not List<object?> keys || keys.Exists(k => k is not string))
            throw new CheckpointException($"{path} has no list of storages. The file is damaged. Download it again.");

        var header = new TorchPickleHeader(path, stream.Length) { IsLegacy = true };
        header.Take(root, LocateStorages(stream, path, root, [.. keys.Cast<string>()]));
        return header;
    }

    private static Func<PickledStorage, long> LocateStorages(FileStream stream, string path, object? root, List<string> keys)
    {
        var sizes = new Dictionary<string, PickledStorage>(StringComparer.Ordinal);
        foreach (var tensor in FindTensors(root))
            sizes.TryAdd(tensor.Storage.Key, tensor.Storage);
        var places = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var key in keys)
        {
            if (!sizes.TryGetValue(key, out var storage))
                throw new CheckpointException(
                    $"{path}: the size of storage '{key}' is unknown because no tensor uses it. Save only the model's state_dict."
                );
            var count = new PickleInput(stream, 8, path).ReadInt64();
            var bytes = (UInt128)storage.Count * (UInt128)SafetensorsTypes.GetSize(TorchTypes.FindType(storage.Type));
            if (count != storage.Count || bytes > (UInt128)(stream.Length - stream.Position))
                throw new CheckpointException(
                    $"{path}: a storage of {storage.Count} elements of {storage.Type} is incomplete (the file gives {count} "
                        + $"elements there, and has {stream.Length} bytes). Download it again."
                );
            places[key] = stream.Position;
            stream.Position += (long)bytes;
        }
        return storage =>
            places.TryGetValue(storage.Key, out var place)
                ? place
                : throw new CheckpointException($"{path}: the storage '{storage.Key}' is missing. The file is damaged. Download it again.");
    }

    // Dictionaries may refer to each other in a cycle.
    private static IEnumerable<PickledTensor> FindTensors(object? root)
    {
        var seen = new HashSet<object>(ReferenceEqualityComparer.Instance);
        var left = new Stack<object?>([root]);
        while (left.TryPop(out var value))
        {
            if (value is PickledTensor tensor)
                yield return tensor;
            else if (value is PickledDictionary dictionary && seen.Add(dictionary))
                foreach (var item in dictionary.Items.Values)
                    left.Push(item);
            else if (TensorPickle.GetItems(value) is { } items && seen.Add(items))
                foreach (var item in items)
                    left.Push(item);
        }
    }

    private void Take(object? root, Func<PickledStorage, long> place)
    {
        var named = Find(root);
        var tensors = new OrderedDictionary<string, TensorInfo>(StringComparer.Ordinal);
        var first = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in named.Items)
        {
            if (key is not string name || value is not PickledTensor view)
                continue;
            _locations.Add(name, (view, place(view.Storage)));
            tensors.Add(name, new TensorInfo(name, TorchTypes.FindType(view.Storage.Type), view.Shape, Path));
            var identity = $"{view.Storage.Key} {view.Offset} {string.Join(',', view.Shape)} {string.Join(',', view.Strides)}";
            if (!first.TryAdd(identity, name))
                _aliases.Add(name, first[identity]);
        }
        Tensors = tensors;
    }

    private PickledDictionary Find(object? root)
    {
        static bool HasTensors(object? value) =>
            value is PickledDictionary dictionary && dictionary.Items.Values.Any(v => v is PickledTensor);
        if (HasTensors(root))
            return (PickledDictionary)root!;
        var inner = root is PickledDictionary outer ? s_wrappers.Where(w => HasTensors(outer.Items.GetValueOrDefault(w))).ToList() : [];
        return inner.Count == 1
            ? (PickledDictionary)((PickledDictionary)root!).Items[inner[0]]!
            : throw new CheckpointException(
                $"{Path} contains {Describe(root)}, but it must contain a dictionary of tensors, directly or under "
                    + $"{string.Join(", ", s_wrappers)}. Save the model's state_dict."
            );
    }

    private static string Describe(object? root) =>
        root switch
        {
            PickledDictionary { Items.Count: 0 } => "an empty dictionary",
            PickledDictionary dictionary => $"a dictionary of {string.Join(", ", dictionary.Items.Keys.Take(5))}",
            PickledTensor tensor => $"a single tensor [{string.Join(", ", tensor.Shape)}] without a name",
            null => "nothing",
            _ => "something else",
        };
}
