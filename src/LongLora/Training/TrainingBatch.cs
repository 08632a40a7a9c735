using LongLora.Attention;
using LongLora.Data;
using LongLora.Positions;
using static TorchSharp.torch;

namespace LongLora.Training;

// B rows, L tokens in a row, l tokens of a part

/// <summary>A batch for a training step: what each token must predict, and its position.</summary>
/// <param name="batch">The tokens.</param>
internal sealed class TrainingBatch(Batch batch)
{
    private readonly long[] _targets = ShiftLabels(batch);

    /// <summary>Counts the tokens that have a target.</summary>
    internal long CountTargets() => _targets.LongCount(id => id >= 0);

    /// <summary>Lengths of the documents in each row, which do not attend to each other; null if a row is one text.</summary>
    internal IReadOnlyList<IReadOnlyList<int>>? DocumentLengths => batch.DocumentLengths;

    /// <summary>The same where a row that is one text has one document.</summary>
    internal IReadOnlyList<IReadOnlyList<int>> Rows =>
        batch.DocumentLengths ?? [.. Enumerable.Repeat<IReadOnlyList<int>>([batch.Length], batch.BatchSize)];

    /// <summary>Cuts some batches of a run into short windows. The batch number alone decides which ones.</summary>
    /// <param name="batch">The batch.</param>
    /// <param name="number">Its number in the run, from 0; after a resume it is the same.</param>
    /// <param name="share">Fraction of the batches to cut, 0 to 1, evenly spread.</param>
    /// <param name="window">Tokens in a short window.</param>
    internal static Batch Shorten(Batch batch, long number, double share, int window) =>
        Math.Floor((number + 1) * share) > Math.Floor(number * share) ? batch.Cut(window) : batch;

    /// <summary>Makes the token ids, [B, L]; of a part of the rows, one after the other, [1, l].</summary>
    internal Tensor MakeIds(Device device, SequencePart? part = null) =>
        part is null
            ? tensor(batch.InputIds, [batch.BatchSize, batch.Length], device: device)
            : tensor(Take(batch.InputIds, part), [1, part.Length], device: device);

    /// <summary>Makes the id to predict at each position, [B L] or [l]; negative where there is nothing to predict.</summary>
    internal Tensor MakeTargets(Device device, SequencePart? part = null) =>
        tensor(part is null ? _targets : Take(_targets, part), device: device);

    private static long[] Take(long[] all, SequencePart part) => all[part.Start..(part.Start + part.Length)];

    /// <summary>Chooses the positions of all tokens, or of a part of the rows, one after the other; the caller disposes them.</summary>
    /// <remarks>
    /// Positions are scaled for the context that the run trains for, not for a row's length, and begin at 0 in each document. Where the
    /// scaling depends on the length of the text, documents that fit into the original context have the original positions, as in
    /// inference.
    /// </remarks>
    internal RotaryEmbedding ChoosePositions(PositionTables tables, Device device, SequencePart? part = null)
    {
        if (batch.DocumentLengths is null && part is null)
            return tables.GetTables(batch.Context).Narrow(0, batch.Length);
        if (batch.DocumentLengths is null && batch.BatchSize == 1)
            return tables.GetTables(batch.Context, part!.Start, part.Length).Narrow(0, part.Length);
        var original = RopeScaling.GetOriginalContext(tables.Config);
        var isMixed = batch.DocumentLengths is not null && RopeScaling.DependsOnLength(tables.Config) && original < batch.Context;
        var positions = new long[batch.InputIds.Length];
        var at = 0;
        foreach (var length in Rows.SelectMany(row => row))
        {
            var first = isMixed && length > original ? original : 0;
            for (var i = 0; i < length; i++)
                positions[at++] = first + i;
        }
        using var chosen = part is null
            ? tensor(positions, [batch.BatchSize, batch.Length], device: device)
            : tensor(Take(positions, part), [1, part.Length], device: device);
        if (!isMixed)
            return tables.GetTables(batch.Context).At(chosen);
        using var both = RotaryEmbedding.Join(tables.GetTables(original), tables.GetTables(batch.Context));
        return both.At(chosen);
    }

    // Label t is the target of position t - 1; the last position of a document has none.
    private static long[] ShiftLabels(Batch batch)
    {
        var labels = batch.Labels ?? batch.InputIds;
        var targets = new long[labels.Length];
        for (var row = 0; row < batch.BatchSize; row++)
        {
            var start = row * batch.Length;
            labels.AsSpan(start + 1, batch.Length - 1).CopyTo(targets.AsSpan(start));
            targets[start + batch.Length - 1] = TrainingExample.IgnoredLabel;
            var end = 0;
            foreach (var length in batch.DocumentLengths?[row] ?? [])
            {
                end += length;
                if (end > 0)
                    targets[start + end - 1] = TrainingExample.IgnoredLabel;
            }
        }
        return targets;
    }
}
