using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, H heads, K head size

/// <summary>
/// Large buffers, each mapped once and used again: by block after block, or for what one block keeps in step after step. If each took new
/// buffers from the allocator, a step would page-fault its whole memory many times, or fragment the heap.
/// </summary>
internal sealed class Workspace : IDisposable
{
    private readonly Dictionary<string, Tensor> _buffers = [];
    private readonly Dictionary<string, Workspace> _sections = [];

    /// <summary>An uninitialized buffer for heads: [B, H, L, K] with the strides of [B, L, H, K].</summary>
    /// <param name="name">The purpose; a later call with the same name returns the same memory.</param>
    /// <param name="like">[B, H', L', K], for batch, head size, type and device.</param>
    /// <param name="heads">H.</param>
    /// <param name="length">L.</param>
    internal Tensor TakeHeads(string name, Tensor like, long heads, long length) =>
        Take(name, like.dtype, like.device, like.size(0), length, heads, like.size(3)).transpose(1, 2);

    /// <summary>An uninitialized buffer with the shape of another tensor.</summary>
    internal Tensor TakeLike(string name, Tensor like) => Take(name, like.dtype, like.device, like.shape);

    /// <summary>An uninitialized buffer.</summary>
    internal Tensor Take(string name, ScalarType type, Device device, params long[] shape) =>
        TakeNumbers(name, type, device, shape.Aggregate(1L, (a, b) => a * b)).view(shape);

    /// <summary>Buffers with names of their own, which live as long as these.</summary>
    internal Workspace OpenSection(string name)
    {
        if (!_sections.TryGetValue(name, out var section))
            _sections[name] = section = new();
        return section;
    }

    private Tensor TakeNumbers(string name, ScalarType type, Device device, long count)
    {
        if (!_buffers.TryGetValue(name, out var buffer) || buffer.numel() < count || buffer.dtype != type)
        {
            buffer?.Dispose();
            _buffers[name] = buffer = HostMemory.AllocateApart(() => empty(count, type, device)).DetachFromDisposeScope();
        }
        return buffer.narrow(0, 0, count);
    }

    /// <summary>Bytes of all buffers.</summary>
    internal long ByteCount => _buffers.Values.Sum(b => b.numel() * b.element_size()) + _sections.Values.Sum(s => s.ByteCount);

    /// <summary>Frees all buffers; others are made when they are asked for.</summary>
    internal void Clear()
    {
        foreach (var buffer in _buffers.Values)
            buffer.Dispose();
        _buffers.Clear();
        foreach (var section in _sections.Values)
            section.Dispose();
        _sections.Clear();
    }

    /// <inheritdoc/>
    public void Dispose() => Clear();
}
