using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A <c>.safetensors</c> file whose tensors are the mapped file. Opening it takes no memory and no time; the system reads pages when they
/// are used.
/// </summary>
/// <remarks>
/// The mapping is read-only. So it does not count against memory however large the file is, its pages can be dropped and read again, and no
/// bug can change the file. (A private copy-on-write mapping would count in full: on Linux a file larger than the memory could not be
/// mapped.) Writing to a mapped tensor crashes the process; clone it first.
/// </remarks>
internal sealed class SafetensorsReader : ITensorSource
{
    private readonly MappedFile _file;

    /// <summary>Opens and maps a file and checks its header.</summary>
    /// <exception cref="CheckpointException">The file does not exist, cannot be read, is damaged, or has an unsupported type.</exception>
    public SafetensorsReader(string path)
    {
        var stream = SafetensorsHeader.OpenFile(path);
        try
        {
            Header = SafetensorsHeader.Read(stream, path);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
        _file = new MappedFile(stream);
    }

    /// <summary>The file.</summary>
    public string Path => Header.Path;

    /// <summary>The checked header.</summary>
    public SafetensorsHeader Header { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => Header.Tensors;

    /// <summary>The file's notes (<c>__metadata__</c>); empty if it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata => Header.Metadata;

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => Header.DataBytes;

    /// <inheritdoc/>
    /// <remarks>If a tensor's offset is not a multiple of its element size, as in some old files, the result is a private copy.</remarks>
    public Tensor Open(string name)
    {
        var data = _file.Start + (nint)Header.DataStart;
        if (!Tensors.TryGetValue(name, out var info))
            throw new CheckpointException($"{Header.Path} has no tensor '{name}'.{NearestName.Hint(name, Tensors.Keys)}");
        LibTorch.EnsureLoaded();
        long[] shape = [.. info.Shape];
        if (info.ElementCount == 0)
            return empty(shape, info.Type);
        var address = data + (nint)Header.GetOffset(name);
        return address % SafetensorsTypes.GetSize(info.Type) == 0
            ? NativeTensor.FromMemory(address, info.Type, shape)
            : Copy(address, shape, info);
    }

    /// <summary>Unmaps the file. Tensors that came from it must not be used afterwards.</summary>
    public void Dispose() => _file.Dispose();

    private static unsafe Tensor Copy(nint address, long[] shape, TensorInfo info)
    {
        var copy = empty(shape, info.Type);
        Buffer.MemoryCopy((void*)address, (void*)NativeTensor.GetPointer(copy), info.ByteCount, info.ByteCount);
        return copy;
    }
}
