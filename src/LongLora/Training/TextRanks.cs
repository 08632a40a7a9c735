using LongLora.Attention;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Training;

/// <summary>
/// The ranks that share each text: every rank has some of its tokens, and they exchange what attention needs at the borders (S² sequence
/// parallelism).
/// </summary>
/// <param name="ranks">The ranks, in the order of the tokens.</param>
/// <param name="attention">Attention of the whole text.</param>
internal sealed class TextRanks(ICommunicator ranks, IAttention attention)
{
    private readonly PatternAttention _attention = (PatternAttention)attention;
    private readonly SequenceNeighbors _neighbors = new(ranks);

    /// <summary>P.</summary>
    internal int Size => ranks.Size;

    /// <summary>Bytes that this rank has sent over its borders.</summary>
    internal long SentBytes => _neighbors.SentBytes;

    /// <summary>
    /// Refuses what cannot be divided, before a run begins: layers whose state goes from token to token, and more ranks than half groups.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="attention">Attention in training.</param>
    /// <param name="length">Tokens in a row.</param>
    /// <param name="ranks">P.</param>
    /// <exception cref="ConfigurationException">The option cannot be that high.</exception>
    internal static void Check(CausalLanguageModel model, IAttention attention, int length, int ranks)
    {
        if (ranks == 1)
            return;
        CheckBlocks(model, ranks);
        if (FindProblem(attention, length, ranks) is { } problem)
            throw new ConfigurationException(problem + ".");
    }

    /// <summary>Refuses layers whose state goes from token to token.</summary>
    /// <param name="model">The model.</param>
    /// <param name="ranks">P.</param>
    /// <exception cref="ConfigurationException">There are such, and several ranks.</exception>
    internal static void CheckBlocks(CausalLanguageModel model, int ranks)
    {
        if (ranks > 1 && model.Blocks.Any(block => block.Recurrence is not null))
            throw new ConfigurationException(
                $"sequence-parallel is {ranks}, but layers of {model.Config.ModelType} have a state that goes from token to token, so they "
                    + "cannot work on parts of a text at once. Set sequence-parallel to 1."
            );
    }

    /// <summary>Refuses ranks that do not make whole groups.</summary>
    /// <param name="all">Number of ranks.</param>
    /// <param name="ranks">P, those that share a text.</param>
    /// <exception cref="ConfigurationException">P is below 1, or does not divide the number.</exception>
    internal static void CheckSize(int all, int ranks)
    {
        if (ranks < 1)
            throw new ConfigurationException($"sequence-parallel is {ranks}; it must be at least 1.");
        if (all % ranks != 0)
            throw new ConfigurationException(
                $"sequence-parallel is {ranks}, but the number of ranks is {all}, which is no multiple of it. Start "
                    + $"{(all / ranks + 1) * ranks} ranks, with mpirun or srun, or set sequence-parallel to 1."
            );
    }

    /// <summary>Why a text of some length cannot be divided among ranks, and what to do; null if it can.</summary>
    internal static string? FindProblem(IAttention attention, int length, int ranks)
    {
        if (ranks == 1)
            return null;
        if (attention is FullAttention)
            return $"sequence-parallel is {ranks}, but attention is full, so every token needs all earlier ones; set attention to "
                + "shifted-sparse, or set sequence-parallel to 1";
        var busy = SequencePlan
            .Make(
                attention,
                [
                    [length],
                ],
                ranks
            )
            .Busy;
        if (busy == ranks)
            return null;
        var largest = 2 * length / ranks / 2 * 2;
        return $"sequence-parallel is {ranks}, but a text of {length:N0} tokens with attention groups of "
            + $"{attention.MakePattern(length).Lower[0].Length:N0} can be divided among {busy} ranks at most; "
            + (largest >= 2 && attention is ShiftedSparseAttention ? $"set group-size to at most {largest}, or " : "")
            + $"set sequence-parallel to {busy}";
    }

    /// <summary>This rank's part of a batch, whose rows lie one after the other.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="device">Where it is computed.</param>
    internal TextPart Divide(TrainingBatch batch, Device device)
    {
        var plan = SequencePlan.Make(_attention, batch.Rows, ranks.Size);
        var part = plan.GetPart(ranks.Rank);
        var tokens = CountTokensForHeads(plan, device.type != DeviceType.CPU);
        return new(part, new SequenceAttention(_attention, part, _neighbors), tokens);
    }

    /// <summary>
    /// As in <see cref="ForwardContext"/>: the CPU does what one rank would do, for the same bits. A GPU gives no such promise and needs
    /// much work at once.
    /// </summary>
    internal static long CountTokensForHeads(SequencePlan plan, bool onGpu) => onGpu ? plan.Longest : plan.Borders[plan.Ranks];
}
