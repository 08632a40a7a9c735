using LongLora.Attention;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Positions;
using static TorchSharp.torch;

namespace LongLora.Evaluation;

// L tokens of a window, P ranks

/// <summary>
/// The losses of the tokens of windows, by one rank or by several that share each window. Every rank knows the whole window, so that it
/// knows which token follows its own; it reads only its part, whose positions are those of the window.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="attention">Attention of a whole window; full if several ranks share it.</param>
/// <param name="ranks">The ranks that share each window.</param>
internal sealed class WindowLosses(CausalLanguageModel model, IAttention attention, ICommunicator ranks) : IDisposable
{
    private RotaryEmbedding? _positions;
    private int _length;

    /// <summary>-log p(token t | tokens 0 .. t - 1) in nats for t = 1 .. L - 1: all ranks get all.</summary>
    /// <param name="window">L token ids, at least 2, the same on all ranks.</param>
    internal double[] Compute(long[] window)
    {
        if (ranks.Size == 1)
            return ComputeAlone(window);
        // A window that is too short to divide is one rank's.
        var mine =
            window.Length >= 2 * ranks.Size ? ComputePart(window)
            : ranks.IsRoot() ? ComputeAlone(window)
            : new double[window.Length - 1];
        using var all = from_array(mine);
        ranks.AllReduce(all, Reduction.Sum).Wait(); // each loss is 0 on all ranks but one
        return all.data<double>().ToArray();
    }

    private double[] ComputeAlone(long[] window)
    {
        var positions = Locate(window.Length, [new(0, window.Length, 0)]);
        return TokenLosses.Compute(model, window, new ForwardContext(attention, positions));
    }

    // Losses of the tokens that follow those of this rank; 0 for the others.
    private double[] ComputePart(long[] window)
    {
        var plan = new RingPlan(window.Length, ranks.Size);
        var chunks = plan.GetChunks(ranks.Rank);
        long[] own = [.. chunks.SelectMany(chunk => window[chunk.Start..chunk.End])],
            following = [.. chunks.SelectMany(chunk => window[(chunk.Start + 1)..Math.Min(chunk.End + 1, window.Length)])];
        var context = new ForwardContext(new RingAttention(plan, ranks), Locate(window.Length, chunks)) { TokensForHeads = plan.Longest };
        var found = TokenLosses.Compute(model, own, following, context);
        var losses = new double[window.Length - 1];
        foreach (var chunk in chunks)
            found.AsSpan(chunk.At, Math.Min(chunk.Count, losses.Length - chunk.Start)).CopyTo(losses.AsSpan(chunk.Start));
        return losses;
    }

    // Tables for some tokens of a window. Windows of one length have the same.
    private RotaryEmbedding Locate(int length, IReadOnlyList<RingChunk> chunks)
    {
        if (_positions is not null && _length == length)
            return _positions;
        _positions?.Dispose();
        RotaryEmbedding Make(RingChunk chunk) => RotaryEmbedding.Create(model.Config, chunk.Count, model.Device, length, chunk.Start);
        (_positions, _length) = (Make(chunks[0]), length);
        foreach (var chunk in chunks.Skip(1))
        {
            using RotaryEmbedding before = _positions,
                next = Make(chunk);
            _positions = RotaryEmbedding.Join(before, next);
        }
        return _positions;
    }

    /// <inheritdoc/>
    public void Dispose() => _positions?.Dispose();
}
