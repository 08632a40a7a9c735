using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, H heads, K head size

/// <summary>
/// Large buffers that the passes through a model's blocks share, each mapped once. If each block took new buffers from the allocator, a
/// walk over the blocks would page-fault its whole memory many times, or fragment the heap.
/// </summary>
internal sealed class Workspace : IDisposable
{
    private readonly Dictionary<string, Tensor> _buffers = [];

    /// <summary>An uninitialized buffer for heads: [B, H, L, K] with the strides of [B, L, H, K].</summary>
    /// <param name="name">The purpose; a later call with the same name returns the same memory.</param>
    /// <param name="like">[B, H', L', K], for batch, head size, type and device.</param>
    /// <param name="heads">H.</param>
    /// <param name="length">L.</param>
    internal Tensor TakeHeads(string name, Tensor like, long heads, long length) =>
        Take(name, like, like.size(0) * length * heads * like.size(3)).view(like.size(0), length, heads, like.size(3)).transpose(1, 2);

    /// <summary>An uninitialized buffer with the shape of another tensor.</summary>
    internal Tensor TakeLike(string name, Tensor like) => Take(name, like, like.numel()).view(like.shape);

    private Tensor Take(string name, Tensor like, long count)
    {
        if (!_buffers.TryGetValue(name, out var buffer) || buffer.numel() < count || buffer.dtype != like.dtype)
        {
            buffer?.Dispose();
            _buffers[name] = buffer = HostMemory.AllocateApart(() => empty(count, like.dtype, like.device)).DetachFromDisposeScope();
        }
        return buffer.narrow(0, 0, count);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var buffer in _buffers.Values)
            buffer.Dispose();
        _buffers.Clear();
    }
}
