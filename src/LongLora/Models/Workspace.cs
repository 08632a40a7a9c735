using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, H heads, K head size

/// <summary>
/// The large buffers that the passes through a model's blocks use one after the other, each mapped once: a walk over the blocks that took
/// them from the allocator anew would page-fault its whole memory many times over, or break the heap into pieces.
/// </summary>
public sealed class Workspace : IDisposable
{
    private readonly Dictionary<string, Tensor> _buffers = [];

    /// <summary>A buffer for heads, its content whatever was there: [B, H, L, K] with the strides of [B, L, H, K].</summary>
    /// <param name="name">What it is for; a later call of the same name gives the same memory.</param>
    /// <param name="like">[B, H', L', K], for batch, head size, type and device.</param>
    /// <param name="heads">H.</param>
    /// <param name="length">L.</param>
    internal Tensor TakeHeads(string name, Tensor like, long heads, long length) =>
        Take(name, like, like.size(0) * length * heads * like.size(3)).view(like.size(0), length, heads, like.size(3)).transpose(1, 2);

    /// <summary>A buffer of the shape of another tensor, its content whatever was there.</summary>
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
