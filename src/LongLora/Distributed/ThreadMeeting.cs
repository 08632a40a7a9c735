using System.Diagnostics;
using static TorchSharp.torch;

namespace LongLora.Distributed;

/// <summary>Where ranks that are threads put down their tensors and find those of the others.</summary>
/// <param name="size">Ranks.</param>
/// <param name="limit">Longest wait.</param>
internal sealed class ThreadMeeting(int size, TimeSpan limit)
{
    private readonly object _lock = new();
    private readonly Dictionary<int, Call> _calls = [];
    private readonly Dictionary<(int From, int To), Queue<Letter>> _letters = [];
    private readonly Dictionary<int, Division> _divisions = [];
    private readonly List<ThreadMeeting> _parts = [];
    private string? _failure;

    internal int Size => size;

    /// <summary>Ends all waiting, also in the groups that this one was divided into.</summary>
    internal void Fail(string why)
    {
        lock (_lock)
        {
            _failure ??= why;
            Monitor.PulseAll(_lock);
        }
        _parts.ForEach(p => p.Fail(why));
    }

    /// <summary>One rank's part in an operation of all; the last to come carries it out.</summary>
    internal Pending Meet(int number, int rank, string what, Tensor tensor, Action<IReadOnlyList<Tensor>> carryOut)
    {
        lock (_lock)
        {
            if (!_calls.TryGetValue(number, out var call))
                _calls[number] = call = new Call(what, size);
            var first = call.Given.FirstOrDefault(t => t is not null);
            if (call.What != what || (first is not null && !IsAlike(first, tensor)))
                Refuse(
                    $"operation {number} is {what} of {Describe(tensor)} on rank {rank}, but {call.What} of {Describe(first!)} on another."
                );
            call.Given[rank] = tensor;
            if (++call.Count == size)
            {
                using (var scope = NewDisposeScope())
                using (no_grad())
                    carryOut(call.Given!);
                call.IsDone = true;
                _calls.Remove(number);
                Monitor.PulseAll(_lock);
            }
            return new Pending(() =>
                Wait(
                    () => call.IsDone,
                    () =>
                        $"{what}, operation {number}, of {Describe(tensor)} on rank {rank} waits for rank "
                        + string.Join(", ", Enumerable.Range(0, size).Where(r => call.Given[r] is null))
                )
            );
        }
    }

    /// <summary>One end of a message; the second to come copies.</summary>
    internal Pending Post(int from, int to, Tensor tensor, bool isSend)
    {
        lock (_lock)
        {
            if (!_letters.TryGetValue((from, to), out var queue))
                _letters[(from, to)] = queue = new Queue<Letter>();
            Letter letter;
            if (queue.TryPeek(out var other) && other.IsSend != isSend)
            {
                letter = queue.Dequeue();
                if (!IsAlike(letter.Tensor, tensor))
                    Refuse(
                        $"rank {from} sends rank {to} {Describe(isSend ? tensor : letter.Tensor)}, but "
                            + $"{Describe(isSend ? letter.Tensor : tensor)} is expected."
                    );
                using (no_grad())
                    _ = isSend ? letter.Tensor.copy_(tensor) : tensor.copy_(letter.Tensor);
                letter.IsDone = true;
                Monitor.PulseAll(_lock);
            }
            else
                queue.Enqueue(letter = new Letter(tensor, isSend));
            return new Pending(() =>
                Wait(() => letter.IsDone, () => $"{Describe(tensor)} from rank {from} to rank {to} waits for rank {(isSend ? to : from)}")
            );
        }
    }

    /// <summary>Divides the ranks; gives the group of one and its rank in it.</summary>
    internal (ThreadMeeting Group, int Rank) Split(int number, int rank, int color, int key)
    {
        lock (_lock)
        {
            if (!_divisions.TryGetValue(number, out var division))
                _divisions[number] = division = new Division();
            division.Members.Add((color, key, rank));
            if (division.Members.Count == size)
            {
                foreach (var group in division.Members.GroupBy(m => m.Color))
                    division.Groups[group.Key] = new ThreadMeeting(group.Count(), limit);
                _parts.AddRange(division.Groups.Values);
                division.Members.Sort();
                division.IsDone = true;
                Monitor.PulseAll(_lock);
            }
            Wait(() => division.IsDone, () => $"operation {number}, a split, on rank {rank} waits for other ranks");
            var members = division.Members.FindAll(m => m.Color == color);
            return (division.Groups[color], members.FindIndex(m => m.Rank == rank));
        }
    }

    private void Wait(Func<bool> isDone, Func<string> describe)
    {
        var watch = Stopwatch.StartNew();
        lock (_lock)
        {
            while (!isDone())
            {
                if (_failure is not null)
                    throw new CommunicationException(_failure);
                var rest = limit - watch.Elapsed;
                if (rest <= TimeSpan.Zero)
                    throw new CommunicationException($"{describe()} for more than {limit.TotalSeconds:0.#} s.");
                Monitor.Wait(_lock, rest);
            }
        }
    }

    private void Refuse(string why)
    {
        Fail(why);
        throw new CommunicationException(why);
    }

    private static bool IsAlike(Tensor a, Tensor b) => a.dtype == b.dtype && a.shape.SequenceEqual(b.shape);

    private static string Describe(Tensor tensor) => $"{tensor.dtype} [{string.Join(", ", tensor.shape)}]";

    private sealed class Call(string what, int size)
    {
        internal string What => what;

        internal Tensor?[] Given { get; } = new Tensor?[size];

        internal int Count { get; set; }

        internal bool IsDone { get; set; }
    }

    private sealed class Letter(Tensor tensor, bool isSend)
    {
        internal Tensor Tensor => tensor;

        internal bool IsSend => isSend;

        internal bool IsDone { get; set; }
    }

    private sealed class Division
    {
        internal List<(int Color, int Key, int Rank)> Members { get; } = [];

        internal Dictionary<int, ThreadMeeting> Groups { get; } = [];

        internal bool IsDone { get; set; }
    }
}
