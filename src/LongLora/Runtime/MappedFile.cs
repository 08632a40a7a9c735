using System.IO.MemoryMappedFiles;

namespace LongLora.Runtime;

/// <summary>
/// A file mapped into memory to be read: it is not counted against memory, however large it is. No finalizer unmaps it, so where this
/// object is forgotten while tensors over its bytes live, the mapping stays.
/// </summary>
internal sealed class MappedFile : IDisposable
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private nint _start;

    /// <summary>Maps a whole file.</summary>
    /// <param name="stream">The file, not empty; it is closed with the mapping, and also if it cannot be mapped.</param>
    /// <exception cref="CheckpointException">The file cannot be mapped.</exception>
    internal unsafe MappedFile(FileStream stream)
    {
        try
        {
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
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            _file?.Dispose();
            stream.Dispose();
            throw new CheckpointException($"Cannot map {stream.Name} into memory: {e.Message}", e);
        }
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _start = (nint)start + (nint)_view.PointerOffset;
    }

    /// <summary>Address of the file's first byte.</summary>
    /// <exception cref="ObjectDisposedException">The file is unmapped.</exception>
    internal nint Start
    {
        get
        {
            ObjectDisposedException.ThrowIf(_start == 0, this);
            return _start;
        }
    }

    /// <summary>Unmaps the file. What points into it must not be used afterwards.</summary>
    public void Dispose()
    {
        if (_start == 0)
            return;
        _start = 0;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }
}
