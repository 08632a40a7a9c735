using LongLora.Distributed;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// The ranks among which the optimizer's moments, and the sums of the gradients, are divided: each has those of its own range of the
/// trained weights, steps these, and gets the others' values. Files hold the whole, and rank 0 reads and writes them piece by piece.
/// </summary>
internal sealed class OptimizerShards
{
    // Elements in one message: 64 MiB.
    private const long PieceElements = 1 << 24;

    private const long End = 0,
        Give = 1,
        Take = 2;

    private readonly ICommunicator _ranks;

    /// <summary>Divides evenly, at the borders of the blocks in which <see cref="ParameterBuffer"/> adds squares.</summary>
    /// <param name="ranks">The ranks.</param>
    /// <param name="count">Trained weights.</param>
    internal OptimizerShards(ICommunicator ranks, long count)
    {
        _ranks = ranks;
        Borders = Divide(count, ranks.Size);
    }

    /// <summary>Rank r has elements [Borders[r], Borders[r + 1]).</summary>
    internal IReadOnlyList<long> Borders { get; }

    /// <summary>The first element of this rank.</summary>
    internal long Start => Borders[_ranks.Rank];

    /// <summary>Elements of this rank; 0 if there are fewer blocks than ranks.</summary>
    internal long Count => Borders[_ranks.Rank + 1] - Start;

    /// <summary>The ranks.</summary>
    internal ICommunicator Ranks => _ranks;

    /// <summary>The borders between the parts of some ranks.</summary>
    internal static IReadOnlyList<long> Divide(long count, int ranks)
    {
        var blocks = (count + ParameterBuffer.BlockElements - 1) / ParameterBuffer.BlockElements;
        return [.. Enumerable.Range(0, ranks + 1).Select(rank => Math.Min(count, blocks * rank / ranks * ParameterBuffer.BlockElements))];
    }

    /// <summary>This rank's part of a list of all elements, as a view.</summary>
    internal Tensor Own(Tensor all) => all.narrow(0, Start, Count);

    /// <summary>
    /// Rank 0 works, and may call <see cref="Collect"/> and <see cref="Distribute"/>, which the others serve meanwhile. All ranks call it.
    /// </summary>
    /// <param name="moments">Both moments of this rank.</param>
    /// <param name="what">The work, for messages.</param>
    /// <param name="work">Gives something that JSON can hold.</param>
    internal T OnRoot<T>(IReadOnlyList<Tensor> moments, string what, Func<T> work)
    {
        if (!_ranks.IsRoot())
            Serve(moments);
        return _ranks.OnRoot(what, () =>
        {
            try
            {
                return work();
            }
            finally
            {
                Command(End, 0, 0, 0, 0);
            }
        });
    }

    /// <summary>A moment of all ranks, piece by piece in order; on rank 0.</summary>
    /// <param name="moment">Its number.</param>
    /// <param name="own">That of rank 0.</param>
    /// <returns>Pieces on the CPU or of <paramref name="own"/>; each is disposed when the next one is taken.</returns>
    internal IEnumerable<Tensor> Collect(int moment, Tensor own)
    {
        foreach (var (owner, start, count) in Pieces())
        {
            using var piece = owner == 0 ? own.narrow(0, start, count) : empty(count, ScalarType.Float32);
            if (owner != 0)
            {
                Command(Give, moment, owner, start, count);
                _ranks.Exchange([], [(owner, piece)]).Wait();
            }
            yield return piece;
        }
    }

    /// <summary>Gives each rank its part of a moment; on rank 0.</summary>
    /// <param name="moment">Its number.</param>
    /// <param name="own">That of rank 0, which is filled.</param>
    /// <param name="whole">[n] fp32 on the CPU, such as a mapped file.</param>
    internal void Distribute(int moment, Tensor own, Tensor whole)
    {
        foreach (var (owner, start, count) in Pieces())
        {
            using var piece = whole.narrow(0, Borders[owner] + start, count);
            if (owner == 0)
            {
                using var into = own.narrow(0, start, count);
                into.copy_(piece);
                continue;
            }
            Command(Take, moment, owner, start, count);
            _ranks.Exchange([(owner, piece)], []).Wait();
        }
    }

    // Of all ranks, in order: the owner, and where the piece lies in its part.
    private IEnumerable<(int Owner, long Start, long Count)> Pieces()
    {
        for (var owner = 0; owner < _ranks.Size; owner++)
        {
            var all = Borders[owner + 1] - Borders[owner];
            for (long start = 0; start < all; start += PieceElements)
                yield return (owner, start, Math.Min(PieceElements, all - start));
        }
    }

    private void Command(params long[] words)
    {
        using var command = tensor(words);
        _ranks.Broadcast(command, 0).Wait();
        Liveness.Tick();
    }

    private void Serve(IReadOnlyList<Tensor> moments)
    {
        using var noGradient = no_grad();
        while (true)
        {
            using var command = zeros(5, ScalarType.Int64);
            _ranks.Broadcast(command, 0).Wait();
            if (command.data<long>().ToArray() is not [var what and not End, var moment, var owner, var start, var count])
                return;
            if (owner != _ranks.Rank)
                continue;
            // Rank 0 has it in the host's memory, so it goes the host's way on a GPU too.
            using var own = moments[(int)moment].narrow(0, start, count);
            using var piece = own.cpu();
            (what == Give ? _ranks.Exchange([(0, piece)], []) : _ranks.Exchange([], [(0, piece)])).Wait();
            if (what == Take)
                own.copy_(piece);
        }
    }
}
