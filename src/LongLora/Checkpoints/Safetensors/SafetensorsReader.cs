using System.IO.MemoryMappedFiles;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A <c>.safetensors</c> file whose tensors are the mapped file: opening costs no memory and no time, and the system reads pages as they
/// are used.
/// </summary>
/// <remarks>
/// The mapping is read-only: it is not counted against memory however large the file, its pages can be dropped and read again, and no
/// slip can change the file. (A private copy-on-write mapping would be counted in full: on Linux a file larger than the memory could then
/// not be mapped.) Writing to a mapped tensor therefore ends the process; clone it first.
/// </remarks>
public sealed class SafetensorsReader : ITensorSource
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private nint _data;

    /// <summary>Opens a file and checks its header; maps the file.</summary>
    /// <exception cref="CheckpointException">
    /// There is no such file, it cannot be read, or it is damaged or of an unsupported type.
    /// </exception>
    public SafetensorsReader(string path)
    {
        var stream = SafetensorsHeader.OpenFile(path);
        try
        {
            Header = SafetensorsHeader.Read(stream, path);
            _file = MemoryMappedFile.CreateFromFile(
                stream,
                null,
                0,
                MemoryMappedFileAccess.Read,
                HandleInheritability.None,
                leaveOpen: false
            );
            _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _file?.Dispose();
            stream.Dispose();
            throw new CheckpointException($"{path} cannot be mapped: {e.Message}", e);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
        _data = MapData();
    }

    /// <summary>The file.</summary>
    public string Path => Header.Path;

    /// <summary>The checked header.</summary>
    public SafetensorsHeader Header { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => Header.Tensors;

    /// <summary>The file's own notes (<c>__metadata__</c>); empty where it has none.</summary>
    public IReadOnlyDictionary<string, string> Metadata => Header.Metadata;

    /// <summary>Bytes of all tensors together.</summary>
    public long DataBytes => Header.DataBytes;

    /// <inheritdoc/>
    /// <remarks>A tensor whose place is not a multiple of its element's size, as some old files have it, is a private copy.</remarks>
    public Tensor Open(string name)
    {
        ObjectDisposedException.ThrowIf(_data == 0, this);
        if (!Tensors.TryGetValue(name, out var info))
            throw new CheckpointException($"{Header.Path}: there is no tensor '{name}'.{NearestName.Hint(name, Tensors.Keys)}");
        LibTorch.EnsureLoaded();
        long[] shape = [.. info.Shape];
        if (info.ElementCount == 0)
            return empty(shape, info.Type);
        var address = _data + (nint)Header.GetOffset(name);
        return address % SafetensorsTypes.GetSize(info.Type) == 0
            ? NativeTensor.FromMemory(address, info.Type, shape)
            : Copy(address, shape, info);
    }

    /// <summary>Unmaps the file. No tensor that came from it may be used afterwards.</summary>
    public void Dispose()
    {
        if (_data == 0)
            return;
        _data = 0;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    // The pointer is taken once and for all: should the reader be forgotten while its tensors live, the mapping stays rather than vanish
    // under them.
    private unsafe nint MapData()
    {
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        return (nint)start + (nint)_view.PointerOffset + (nint)Header.DataStart;
    }

    private static unsafe Tensor Copy(nint address, long[] shape, TensorInfo info)
    {
        var copy = empty(shape, info.Type);
        Buffer.MemoryCopy((void*)address, (void*)NativeTensor.GetPointer(copy), info.ByteCount, info.ByteCount);
        return copy;
    }
}
