using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

/// <summary>
/// A file of PyTorch's <c>torch.save</c> whose tensors are the mapped file. The members of the archive are not compressed, so opening it
/// takes no memory, as with safetensors. Nothing in the file is executed; see <see cref="TorchPickleHeader"/>.
/// </summary>
/// <remarks>
/// The mapping is read-only for the reasons that <see cref="SafetensorsReader"/> gives. The result is a private copy if a view has gaps or
/// another order than its memory (such as a transposed matrix), or if its offset is not a multiple of the element size.
/// </remarks>
internal sealed class TorchPickleReader : ITensorSource
{
    private readonly MappedFile _file;

    /// <summary>Opens and maps a file and checks its header.</summary>
    /// <exception cref="CheckpointException">The file does not exist, is damaged, or contains something other than tensors.</exception>
    public TorchPickleReader(string path)
    {
        Header = TorchPickleHeader.Read(path);
        var stream = SafetensorsHeader.OpenFile(path);
        if (stream.Length != Header.FileBytes)
        {
            var length = stream.Length;
            stream.Dispose();
            throw new CheckpointException($"{path} changed while it was read: it had {Header.FileBytes} bytes, then {length}.");
        }
        _file = new MappedFile(stream);
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
        var start = _file.Start;
        if (!Tensors.TryGetValue(name, out var info))
            throw new CheckpointException($"{Path} has no tensor '{name}'.{NearestName.Hint(name, Tensors.Keys)}");
        LibTorch.EnsureLoaded();
        long[] shape = [.. info.Shape];
        if (info.ElementCount == 0)
            return empty(shape, info.Type);
        var (view, place) = Header.Locate(name);
        var elementBytes = SafetensorsTypes.GetSize(info.Type);
        var address = start + (nint)(place + view.Offset * elementBytes);
        var contiguous = IsContiguous(view);
        if (contiguous && address % elementBytes == 0)
            return NativeTensor.FromMemory(address, info.Type, shape);

        // All elements from the first to the last one of the view, copied if they are not aligned.
        var span = view.Shape.Zip(view.Strides, (size, stride) => (size - 1) * stride).Sum() + 1;
        using var scope = NewDisposeScope();
        var reached = address % elementBytes == 0 ? NativeTensor.FromMemory(address, info.Type, [span]) : Copy(address, span, info.Type);
        return (contiguous ? reached.view(shape) : reached.as_strided(shape, [.. view.Strides]).contiguous()).MoveToOuterDisposeScope();
    }

    /// <summary>Unmaps the file. Tensors that came from it must not be used afterwards.</summary>
    public void Dispose() => _file.Dispose();

    // The strides of dimensions of size 1 do not matter.
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
