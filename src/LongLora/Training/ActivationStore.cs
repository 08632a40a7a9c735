using LongLora.Models;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>A stack of tensors: what the forward pass keeps and the backward pass takes back in reverse.</summary>
internal abstract class ActivationStore : IDisposable
{
    /// <summary>Whether tensors stay on the device that computes, so that what is pushed may be kept where it is.</summary>
    public virtual bool StaysOnDevice => false;

    /// <summary>Takes ownership of a tensor; the caller must not use it anymore.</summary>
    public abstract void Push(Tensor tensor);

    /// <summary>Keeps a copy of a tensor.</summary>
    public abstract void PushCopy(Tensor tensor);

    /// <summary>Returns the last tensor with the same strides and bits; the caller disposes it.</summary>
    public abstract Tensor Pop();

    /// <summary>Where tensors are kept, with <see cref="ActivationOffload.Auto"/> is resolved.</summary>
    /// <param name="offload">The requested place.</param>
    /// <param name="bytes">The most bytes that will be kept.</param>
    /// <param name="free">Free bytes on the device before the first step; null if unknown.</param>
    /// <param name="cuda">Whether the model computes on CUDA.</param>
    internal static ActivationOffload Resolve(ActivationOffload offload, long bytes, long? free, bool cuda) =>
        offload != ActivationOffload.Auto ? offload
        : bytes < (free ?? long.MaxValue) / 2 ? ActivationOffload.None
        : cuda ? ActivationOffload.Host
        : ActivationOffload.Disk;

    /// <summary>Makes a store.</summary>
    /// <param name="offload">Where to keep tensors; Auto must be resolved.</param>
    /// <param name="device">Where the model computes.</param>
    /// <param name="memory">Memory for tensors that stay there, the same in step after step.</param>
    internal static ActivationStore Create(ActivationOffload offload, Device device, Workspace memory) =>
        offload switch
        {
            ActivationOffload.Disk => new DiskStore(device),
            ActivationOffload.Host when device.type != DeviceType.CPU => new HostStore(device),
            _ => new MemoryStore(memory),
        };

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the remaining tensors.</summary>
    protected abstract void Dispose(bool disposing);

    private sealed class MemoryStore(Workspace memory) : ActivationStore
    {
        private readonly Stack<Tensor> _kept = [];

        public override bool StaysOnDevice => true;

        public override void Push(Tensor tensor) => _kept.Push(tensor.DetachFromDisposeScope());

        public override void PushCopy(Tensor tensor) => Push(memory.TakeLike($"{_kept.Count}", tensor).copy_(tensor));

        public override Tensor Pop() => MoveToCurrentScope(_kept.Pop());

        protected override void Dispose(bool disposing)
        {
            while (_kept.TryPop(out var tensor))
                tensor.Dispose();
        }
    }

    // Pinned, so copies run at bus speed without blocking. They stay in order with the device's kernels, and libtorch keeps the memory of
    // both sides until they are done. Not tested on a GPU.
    private sealed class HostStore(Device device) : ActivationStore
    {
        private readonly Stack<Tensor> _kept = [];

        public override void Push(Tensor tensor)
        {
            using (tensor)
                PushCopy(tensor);
        }

        public override void PushCopy(Tensor tensor)
        {
            var host = Dispatcher.EmptyOnHost(tensor, pinned: true).DetachFromDisposeScope();
            host.copy_(tensor, true); // not blocking
            _kept.Push(host);
        }

        public override Tensor Pop()
        {
            using var host = _kept.Pop();
            return host.to(device, non_blocking: true);
        }

        protected override void Dispose(bool disposing)
        {
            while (_kept.TryPop(out var tensor))
                tensor.Dispose();
        }
    }

    // One file, written and cut off at its end like a stack. Explicit reads and writes: mapped pages would count as the process's memory.
    private sealed unsafe class DiskStore(Device device) : ActivationStore
    {
        private const int Piece = 1 << 28;

        private readonly FileStream _file = Guard(() => ScratchFile.Create(Path.GetTempPath(), "activations"));

        private readonly Stack<(long[] Shape, int[] Order, ScalarType Type, long Offset)> _kept = [];
        private long _end;

        public override void Push(Tensor tensor)
        {
            using (tensor)
                PushCopy(tensor);
        }

        public override void PushCopy(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            // Dimensions in memory order, so nothing is rearranged.
            var strides = tensor.stride();
            int[] order = [.. Enumerable.Range(0, strides.Length).OrderByDescending(i => strides[i])];
            var ordered = tensor.permute([.. order.Select(i => (long)i)]).cpu().contiguous();
            var bytes = ordered.numel() * ordered.element_size();
            var data = (byte*)NativeTensor.GetPointer(ordered);
            Guard(() =>
            {
                for (long done = 0; done < bytes; done += Piece)
                    RandomAccess.Write(
                        _file.SafeFileHandle,
                        new ReadOnlySpan<byte>(data + done, (int)Math.Min(Piece, bytes - done)),
                        _end + done
                    );
                return bytes;
            });
            _kept.Push((ordered.shape, order, ordered.dtype, _end));
            _end += bytes;
        }

        public override Tensor Pop()
        {
            var (shape, order, type, offset) = _kept.Pop();
            using var scope = NewDisposeScope();
            var tensor = HostMemory.AllocateApart(() => empty(shape, type));
            var bytes = _end - offset;
            var data = (byte*)NativeTensor.GetPointer(tensor);
            Guard(() =>
            {
                for (long done = 0; done < bytes; )
                {
                    var read = RandomAccess.Read(
                        _file.SafeFileHandle,
                        new Span<byte>(data + done, (int)Math.Min(Piece, bytes - done)),
                        offset + done
                    );
                    if (read == 0)
                        throw new EndOfStreamException();
                    done += read;
                }
                return bytes;
            });
            _end = offset;
            if (device.type != DeviceType.CPU)
                tensor = tensor.to(device);
            return tensor
                .permute([.. Enumerable.Range(0, order.Length).Select(i => (long)Array.IndexOf(order, i))])
                .MoveToOuterDisposeScope();
        }

        protected override void Dispose(bool disposing) => _file.Dispose();

        private static T Guard<T>(Func<T> action)
        {
            try
            {
                return action();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new ConfigurationException(
                    $"Cannot write activations to '{Path.GetTempPath()}': {e.Message} Free some space there, set TMPDIR to a "
                        + "folder with more space, or set activation-offload to none.",
                    e
                );
            }
        }
    }

    private static Tensor MoveToCurrentScope(Tensor tensor)
    {
        // Back into the caller's scope.
        var alias = tensor.alias();
        tensor.Dispose();
        return alias;
    }
}
