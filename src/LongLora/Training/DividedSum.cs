using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// An <see cref="ExactSum"/> of which each rank has only its own part: after each round of micro-batches every rank sends the others their
/// parts of its gradients. Whole numbers have no order, so the bits are those of a sum that every rank has.
/// </summary>
internal sealed class DividedSum : IDisposable
{
    // Elements that are sent together, of all parts: 32 MiB.
    internal const long PieceElements = 1 << 22;

    private readonly OptimizerShards _shards;
    private readonly ExactSum _own;
    private readonly long _elementsOfEach;

    /// <summary>Begins at zero.</summary>
    /// <param name="gradients">[n], as the gradients.</param>
    /// <param name="shards">Who has which part.</param>
    /// <param name="pieceElements">Elements that are sent together.</param>
    internal DividedSum(Tensor gradients, OptimizerShards shards, long pieceElements = PieceElements)
    {
        using var part = shards.Own(gradients);
        (_shards, _own) = (shards, new ExactSum(part));
        _elementsOfEach = Math.Max(1, pieceElements / shards.Ranks.Size);
    }

    /// <summary>Adds the gradients of all ranks, and clears them. All ranks call it, those without gradients with zeros.</summary>
    /// <inheritdoc cref="ExactSum.Add" path="/param|/returns"/>
    internal bool Add(Tensor gradients, double limit)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var isSound = true;
        var longest = _shards.Borders.Zip(_shards.Borders.Skip(1), (a, b) => b - a).Max();
        // One piece is sent while the next one is made.
        Action finish = () => { };
        for (long at = 0; at < longest; at += _elementsOfEach)
        {
            var finishThis = Send(gradients, at, limit, ref isSound);
            finish();
            finish = finishThis;
        }
        finish();
        gradients.zero_();
        return isSound;
    }

    /// <summary>Replaces this rank's part of the gradients by the sum, which begins again at zero.</summary>
    internal void MoveTo(Tensor gradients)
    {
        using var part = _shards.Own(gradients);
        _own.MoveTo(part);
    }

    /// <summary>Forgets what was added.</summary>
    internal void Clear() => _own.Clear();

    // Elements [at, at + _elementsOfEach) of each part, one part after the other.
    private Action Send(Tensor gradients, long at, double limit, ref bool isSound)
    {
        var ranks = _shards.Ranks;
        var borders = new List<long> { 0 };
        var counts = Enumerable
            .Range(0, ranks.Size)
            .Select(r => Math.Clamp(_shards.Borders[r + 1] - _shards.Borders[r] - at, 0, _elementsOfEach))
            .ToList();
        counts.ForEach(count => borders.Add(borders[^1] + count));
        var piece = zeros(borders[^1], ScalarType.Int64, gradients.device);
        for (var rank = 0; rank < ranks.Size && isSound; rank++)
        {
            using var scope = NewDisposeScope();
            if (counts[rank] == 0)
                continue;
            var part = gradients.narrow(0, _shards.Borders[rank] + at, counts[rank]);
            isSound = ExactSum.IsBelow(part, limit);
            if (isSound)
                piece.narrow(0, borders[rank], counts[rank]).copy_(ExactSum.Round(part));
        }
        Liveness.Tick();
        var pending = ranks.ReduceScatter(piece, borders);
        return () =>
        {
            pending.Wait();
            using (var scope = NewDisposeScope())
            {
                var mine = counts[ranks.Rank];
                if (mine > 0)
                    _own.Total.narrow(0, at, mine).add_(piece.narrow(0, borders[ranks.Rank], mine), Scalars.One);
            }
            piece.Dispose();
            Liveness.Tick();
        };
    }

    public void Dispose() => _own.Dispose();
}
