using System.IO.MemoryMappedFiles;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A file of PyTorch's <c>torch.save</c> whose tensors are the mapped file: the members of the archive are not compressed, so opening
/// costs no memory, as with safetensors. Nothing in the file is executed; see <see cref="TorchPickleHeader"/>.
/// </summary>
/// <remarks>
/// The mapping is read-only, for the reasons that <see cref="SafetensorsReader"/> gives. A view with gaps or in another order than its
/// memory (a transposed matrix), and data that lie at a place that is no multiple of the element's size, come as private copies.
/// </remarks>
public sealed class TorchPickleReader : ITensorSource
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private nint _start;

    /// <summary>Opens a file and checks its header; maps the file.</summary>
    /// <exception cref="CheckpointException">There is no such file, it is damaged, or it holds something else than tensors.</exception>
    public unsafe TorchPickleReader(string path)
    {
        Header = TorchPickleHeader.Read(path);
        var stream = SafetensorsHeader.OpenFile(path);
        try
        {
            if (stream.Length != Header.FileBytes)
                throw new CheckpointException($"{path} has changed while it was read: {Header.FileBytes} bytes, then {stream.Length}.");
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
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _start = (nint)start + (nint)_view.PointerOffset;
    }

    /// <summary>The file.</summary>
    public string Path => Header.Path;

    /// <summary>The checked header.</summary>
    public TorchPickleHeader Header { get; }

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => Header.Tensors;

    /// <inheritdoc/>
    public Tensor Open(string name)
    {
        ObjectDisposedException.ThrowIf(_start == 0, this);
        if (!Tensors.TryGetValue(name, out var info))
            throw new CheckpointException($"{Path}: there is no tensor '{name}'.{NearestName.Hint(name, Tensors.Keys)}");
        LibTorch.EnsureLoaded();
        long[] shape = [.. info.Shape];
        if (info.ElementCount == 0)
            return empty(shape, info.Type);
        var (view, place) = Header.Locate(name);
        var elementBytes = SafetensorsTypes.GetSize(info.Type);
        var address = _start + (nint)(place + view.Offset * elementBytes);
        var contiguous = IsContiguous(view);
        if (contiguous && address % elementBytes == 0)
            return NativeTensor.FromMemory(address, info.Type, shape);

        // All elements from the first to the last that the view reaches, copied if need be to where elements may lie.
        var span = view.Shape.Zip(view.Strides, (size, stride) => (size - 1) * stride).Sum() + 1;
        using var scope = NewDisposeScope();
        var reached = address % elementBytes == 0 ? NativeTensor.FromMemory(address, info.Type, [span]) : Copy(address, span, info.Type);
        return (contiguous ? reached.view(shape) : reached.as_strided(shape, [.. view.Strides]).contiguous()).MoveToOuterDisposeScope();
    }

    /// <summary>Unmaps the file. No tensor that came from it may be used afterwards.</summary>
    public void Dispose()
    {
        if (_start == 0)
            return;
        _start = 0;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    // Strides of dimensions of size 1 may be anything.
    private static bool IsContiguous(PickledTensor view)
    {
        var expected = 1L;
        for (var i = view.Shape.Count - 1; i >= 0; i--)
        {
            if (view.Shape[i] != 1 && view.Strides[i] != expected)
                return false;
            expected *= view.Shape[i];
        }
        return true;
    }

    private static unsafe Tensor Copy(nint address, long count, ScalarType type)
    {
        var copy = empty(count, type);
        var bytes = count * SafetensorsTypes.GetSize(type);
        Buffer.MemoryCopy((void*)address, (void*)NativeTensor.GetPointer(copy), bytes, bytes);
        return copy;
    }
}
