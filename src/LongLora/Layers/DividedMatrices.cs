using LongLora.Distributed;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Layers;

/// <summary>
/// The frozen matrices of a model's decoder blocks, divided among ranks: each has its range of every tensor, in the type in which it is
/// stored. The ranks gather a block when they come to it, into one of two buffers, and meanwhile the next one into the other.
/// </summary>
/// <remarks>
/// All ranks go through the same blocks in the same order, those without a text too. They gather the same bits, so nothing that is computed
/// with them changes.
/// </remarks>
/// <param name="ranks">The ranks.</param>
internal sealed class DividedMatrices(ICommunicator ranks) : IDisposable
{
    // Elements; whole cache lines for every type.
    private const long Alignment = 64;

    private readonly Dictionary<int, List<Divided>> _blocks = [];
    private readonly GatherSlots _slots = new();
    private readonly Slot[] _buffers = [new(), new()];
    private IReadOnlyList<int> _visits = [];
    private int _position;

    /// <summary>Bytes of this rank's parts.</summary>
    internal long OwnBytes => _blocks.Values.Sum(block => block.Sum(d => d.Part.numel() * d.Part.element_size()));

    /// <summary>Keeps only this rank's part of a matrix.</summary>
    /// <param name="block">The decoder block that it belongs to.</param>
    /// <param name="projection">The matrix.</param>
    internal void Add(int block, IProjection projection)
    {
        if (!_blocks.TryGetValue(block, out var all))
            _blocks.Add(block, all = []);
        // Experts may share a tensor.
        foreach (var tensor in projection.Stored.Where(t => !t.IsDivided))
        {
            var borders = Divide(tensor.ElementCount);
            var (start, end) = (borders[ranks.Rank], borders[ranks.Rank + 1]);
            all.Add(new Divided(tensor, borders, tensor.Divide(start, end - start)));
            Liveness.Tick();
        }
    }

    /// <summary>Holds a matrix in another type from now on. All ranks call it, before the first pass.</summary>
    internal void Convert(StoredTensor tensor, ScalarType type)
    {
        using var scope = NewDisposeScope();
        var divided = Find(tensor);
        var part = HostMemory.AllocateApart(() => divided.Part.to(type));
        divided.Part.Dispose();
        divided.Part = part.DetachFromDisposeScope();
        tensor.ChangeType(type);
    }

    /// <summary>Has the whole of one matrix until the result is disposed, outside of passes. All ranks call it.</summary>
    internal IDisposable Lend(IProjection projection)
    {
        var lent = new List<StoredTensor>();
        foreach (var divided in projection.Stored.Where(t => t.IsDivided && !t.IsHere).Select(Find))
        {
            using var noGradient = no_grad();
            using var scope = NewDisposeScope();
            var whole = empty([divided.Tensor.ElementCount], divided.Tensor.Type, divided.Part.device);
            Gather(divided, whole).Wait();
            divided.Tensor.Replace(whole.view([.. divided.Tensor.Shape]));
            lent.Add(divided.Tensor);
        }
        return new Loan(lent);
    }

    /// <summary>Begins a pass over the blocks. All ranks call it.</summary>
    /// <param name="visits">The blocks in the order in which <see cref="Enter"/> will name them.</param>
    internal void Begin(IReadOnlyList<int> visits)
    {
        (_visits, _position) = (visits, 0);
        if (_blocks.Values.SelectMany(all => all).FirstOrDefault() is not { } first)
            return;
        foreach (var buffer in _buffers)
            buffer.Allocate(CountElements, first.Part.device);
    }

    /// <summary>Waits until a block is here, and begins to gather the one that comes after it. All ranks call it.</summary>
    internal void Enter(int block)
    {
        if (_position == _visits.Count || _visits[_position] != block)
            throw new InvalidOperationException($"The pass came to block {block}, but other ranks come to another one.");
        _position++;
        var (slot, isMissing) = _slots.Enter(block);
        if (isMissing)
            Begin(block, slot);
        _buffers[slot].Finish();
        if (FindNext(block) is { } next && _slots.Prepare(next) is { } other)
            Begin(next, other);
        Liveness.Tick();
    }

    /// <summary>Takes part in a pass of the others without computing anything.</summary>
    /// <param name="visits">As they give it to <see cref="Begin(IReadOnlyList{int})"/>.</param>
    internal void Accompany(IReadOnlyList<int> visits)
    {
        Begin(visits);
        foreach (var block in visits)
            Enter(block);
    }

    // The borders between the parts of a tensor.
    private long[] Divide(long elements) => [.. Enumerable.Range(0, ranks.Size + 1).Select(rank => elements * rank / ranks.Size)];

    private Divided Find(StoredTensor tensor) => _blocks.Values.SelectMany(all => all).First(d => ReferenceEquals(d.Tensor, tensor));

    private int? FindNext(int block)
    {
        for (var at = _position; at < _visits.Count; at++)
        {
            if (_visits[at] != block)
                return _visits[at];
        }
        return null;
    }

    private void Begin(int block, int slot) => _buffers[slot].Begin(_blocks.GetValueOrDefault(block) ?? [], Gather);

    // Elements of each type that a buffer needs for the largest block.
    private Dictionary<ScalarType, long> CountElements() =>
        _blocks
            .Values.SelectMany(block =>
                block.GroupBy(d => d.Tensor.Type, (type, all) => (Type: type, Count: all.Sum(d => Align(d.Tensor))))
            )
            .GroupBy(one => one.Type)
            .ToDictionary(all => all.Key, all => all.Max(one => one.Count));

    private static long Align(StoredTensor tensor) => (tensor.ElementCount + Alignment - 1) / Alignment * Alignment;

    private Pending Gather(Divided divided, Tensor whole)
    {
        var start = divided.Borders[ranks.Rank];
        using (var own = whole.narrow(0, start, divided.Part.numel()))
            own.copy_(divided.Part);
        return ranks.AllGather(whole, divided.Borders);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var buffer in _buffers)
            buffer.Dispose();
        foreach (var divided in _blocks.Values.SelectMany(all => all))
            divided.Part.Dispose();
    }

    /// <summary>A tensor and this rank's part of it.</summary>
    private sealed class Divided(StoredTensor tensor, long[] borders, Tensor part)
    {
        internal StoredTensor Tensor { get; } = tensor;

        internal long[] Borders { get; } = borders;

        internal Tensor Part { get; set; } = part;
    }

    /// <summary>A buffer, and the block that is in it.</summary>
    private sealed class Slot : IDisposable
    {
        private readonly Dictionary<ScalarType, Tensor> _memory = [];
        private readonly List<(Divided Divided, Tensor Whole, Pending Pending)> _coming = [];
        private IReadOnlyList<Divided> _present = [];

        internal void Allocate(Func<Dictionary<ScalarType, long>> count, Device device)
        {
            if (_memory.Count > 0)
                return;
            foreach (var (type, elements) in count())
                _memory.Add(type, HostMemory.AllocateApart(() => empty([elements], type, device)).DetachFromDisposeScope());
        }

        internal void Begin(IReadOnlyList<Divided> block, Func<Divided, Tensor, Pending> gather)
        {
            using var noGradient = no_grad();
            foreach (var gone in _present)
                gone.Tensor.Withdraw();
            _present = block;
            var used = new Dictionary<ScalarType, long>();
            foreach (var divided in block)
            {
                var (type, count) = (divided.Tensor.Type, divided.Tensor.ElementCount);
                var start = used.GetValueOrDefault(type);
                var whole = _memory[type].narrow(0, start, count).DetachFromDisposeScope();
                _coming.Add((divided, whole, gather(divided, whole)));
                used[type] = start + Align(divided.Tensor);
            }
        }

        // Lends what has come.
        internal void Finish()
        {
            foreach (var (divided, whole, pending) in _coming)
            {
                pending.Wait();
                divided.Tensor.Replace(whole.view([.. divided.Tensor.Shape]));
                whole.Dispose();
            }
            _coming.Clear();
        }

        public void Dispose()
        {
            foreach (var memory in _memory.Values)
                memory.Dispose();
        }
    }

    private sealed class Loan(IReadOnlyList<StoredTensor> lent) : IDisposable
    {
        public void Dispose()
        {
            foreach (var tensor in lent)
                tensor.Withdraw();
        }
    }
}
