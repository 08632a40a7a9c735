using System.Numerics;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Evaluation;

/// <summary>Measures perplexity of a model on text, with full attention.</summary>
public static class Perplexity
{
    /// <summary>LongLoRA's stride between windows.</summary>
    public const int LongLoraStride = 256;

    private static readonly TimeSpan s_longestWindow = TimeSpan.FromMinutes(30);

    /// <summary>Measures one context length.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The text.</param>
    /// <param name="context">Tokens in a window, at least 2.</param>
    /// <param name="protocol">Which tokens are scored.</param>
    /// <param name="stride">
    /// Tokens between the starts of two windows; null for 256 (LongLoRA) or a quarter of the context (documents).
    /// </param>
    /// <param name="attention">Attention pattern; null for full attention.</param>
    /// <param name="progress">Receives every window.</param>
    /// <param name="cancellation">Checked once per window.</param>
    /// <exception cref="DataException">The text is too short for one window.</exception>
    public static PerplexityResult Evaluate(
        CausalLanguageModel model,
        TokenStore tokens,
        int context,
        PerplexityProtocol protocol,
        int? stride = null,
        IAttention? attention = null,
        IProgress<PerplexityProgress>? progress = null,
        CancellationToken cancellation = default
    ) => Evaluate(model, tokens, context, protocol, stride, attention, SingleProcess.Instance, 1, progress, cancellation);

    /// <summary>
    /// Measures as one of several ranks, which share the windows. All get the figures that one would find, to the bit; if
    /// <paramref name="parts"/> ranks share each window, which needs full attention, up to the rounding of sums in another order.
    /// </summary>
    internal static PerplexityResult Evaluate(
        CausalLanguageModel model,
        TokenStore tokens,
        int context,
        PerplexityProtocol protocol,
        int? stride,
        IAttention? attention,
        ICommunicator ranks,
        int parts,
        IProgress<PerplexityProgress>? progress,
        CancellationToken cancellation
    )
    {
        TextRanks.CheckSize(ranks.Size, parts);
        TextRanks.CheckBlocks(model, parts);
        if (parts > 1 && attention is not (null or FullAttention))
            throw new ConfigurationException(
                $"sequence-parallel is {parts}, but only full attention of a window can be divided in evaluations. Set attention to full, "
                    + "or set sequence-parallel to 1."
            );
        if (context < 2)
            throw new ConfigurationException($"context is {context}, but perplexity needs at least 2 tokens.");
        var step = stride ?? (protocol == PerplexityProtocol.LongLora ? LongLoraStride : Math.Max(1, context / 4));
        if (step < 1 || (protocol == PerplexityProtocol.Document && step >= context))
            throw new ConfigurationException(
                $"stride is {step}; it must be at least 1. For documents it must also be below the context, {context}, so that "
                    + "every token is scored."
            );
        var windows =
            protocol == PerplexityProtocol.LongLora ? ListStreamWindows(tokens, context, step) : ListDocumentWindows(tokens, context, step);
        if (windows.Count == 0)
            throw new DataException(
                protocol == PerplexityProtocol.LongLora
                    ? $"The text has {tokens.Count} tokens, but LongLoRA's protocol with windows of {context} needs more than "
                        + $"{context + step}. Give more text or a smaller context."
                    : "There is nothing to score because no document has two tokens."
            );

        // The ranks of a window are neighbors, because they talk most.
        using var texts = parts == 1 ? SingleProcess.Instance : ranks.Split(ranks.Rank / parts, ranks.Rank % parts);
        using var losses = new WindowLosses(model, attention ?? new FullAttention(), texts);
        var lines = Score(losses, tokens, windows, CountBins(context), ranks, texts, Report, cancellation);
        return Join(lines, windows, context, protocol);

        void Report(int done) => progress?.Report(new PerplexityProgress(context, done, windows.Count));
    }

    private static int CountBins(int context) => BitOperations.Log2((uint)context) + 1;

    // For each window the sum of its losses, and that of each bin.
    private static double[][] Score(
        WindowLosses losses,
        TokenStore tokens,
        List<(long Start, int Length, int First)> windows,
        int bins,
        ICommunicator ranks,
        ICommunicator parts,
        Action<int> report,
        CancellationToken cancellation
    )
    {
        var lines = new double[windows.Count * (bins + 1)];
        var groups = ranks.Size / parts.Size;
        using var firstWindow = ranks.Phase("measuring the first window", s_longestWindow);
        using var lesson = Liveness.Learn();
        for (var round = 0; round < windows.Count; round += groups)
        {
            if (round > 0)
                firstWindow.Dispose();
            if (ranks.IsAny(cancellation.IsCancellationRequested))
                throw new OperationCanceledException(cancellation);
            var mine = round + ranks.Rank / parts.Size;
            if (mine < windows.Count)
            {
                var (start, length, first) = windows[mine];
                var ids = new long[length];
                tokens.CopyTo(start, ids);
                var ofTokens = losses.Compute(ids).AsSpan(first - 1);
                var line = lines.AsSpan(mine * (bins + 1), bins + 1);
                // Once for each window.
                for (var t = 0; t < ofTokens.Length && parts.IsRoot(); t++)
                {
                    line[0] += ofTokens[t];
                    line[1 + BitOperations.Log2((uint)(first + t))] += ofTokens[t];
                }
            }
            report(Math.Min(round + groups, windows.Count));
        }
        using var sums = from_array(lines);
        ranks.AllReduce(sums, Reduction.Sum).Wait(); // each number is 0 on all ranks but one
        return [.. sums.data<double>().ToArray().Chunk(bins + 1)];
    }

    // Adds the windows in their order.
    private static PerplexityResult Join(
        double[][] lines,
        List<(long Start, int Length, int First)> windows,
        int context,
        PerplexityProtocol protocol
    )
    {
        double meanSum = 0,
            lossSum = 0;
        long scored = 0;
        var bins = new (double Sum, long Tokens)[CountBins(context)];
        for (var i = 0; i < windows.Count; i++)
        {
            var (_, length, first) = windows[i];
            var count = length - first;
            (lossSum, meanSum, scored) = (lossSum + lines[i][0], meanSum + lines[i][0] / count, scored + count);
            for (var bin = 0; bin < bins.Length; bin++)
            {
                var tokens = Math.Max(0, Math.Min(length, 2L << bin) - Math.Max(first, 1L << bin));
                bins[bin] = (bins[bin].Sum + lines[i][1 + bin], bins[bin].Tokens + tokens);
            }
        }
        // LongLoRA's mean over windows equals the mean over tokens, because all its windows score the same number.
        return new PerplexityResult(context, protocol == PerplexityProtocol.LongLora ? meanSum / windows.Count : lossSum / scored, scored)
        {
            ByPosition =
            [
                .. bins.Select((bin, i) => new PerplexityBin(1 << i, Math.Min((2 << i) - 1, context - 1), bin.Sum / bin.Tokens, bin.Tokens))
                    .Where(bin => bin.Tokens > 0),
            ],
        };
    }

    // Start, length, and the first token of the window that is scored (its own first token never is).
    private static List<(long Start, int Length, int First)> ListStreamWindows(TokenStore tokens, int context, int stride)
    {
        var windows = new List<(long, int, int)>();
        for (long start = 0; start < tokens.Count - context; start += stride)
            windows.Add((start, context, 1));
        if (windows.Count > 0)
            windows.RemoveAt(windows.Count - 1);
        return windows;
    }

    private static List<(long Start, int Length, int First)> ListDocumentWindows(TokenStore tokens, int context, int stride)
    {
        var windows = new List<(long, int, int)>();
        foreach (var document in tokens.Documents.Where(d => d.Length >= 2))
        {
            long scoredTo = 1; // the first token of a document has no context
            for (long start = 0; scoredTo < document.Length; start += stride)
            {
                var end = Math.Min(start + context, document.Length);
                windows.Add((document.Start + start, (int)(end - start), (int)(scoredTo - start)));
                scoredTo = end;
            }
        }
        return windows;
    }
}
