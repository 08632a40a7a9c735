using System.Numerics;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;

namespace LongLora.Evaluation;

/// <summary>Measures perplexity of a model on text, with full attention.</summary>
public static class Perplexity
{
    /// <summary>LongLoRA's stride between windows.</summary>
    public const int LongLoraStride = 256;

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
    )
    {
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

        attention ??= new FullAttention();
        double meanSum = 0,
            lossSum = 0;
        long scored = 0;
        var bins = new (double Sum, long Tokens)[BitOperations.Log2((uint)context) + 1];
        RotaryEmbedding? positions = null;
        try
        {
            for (var i = 0; i < windows.Count; i++)
            {
                cancellation.ThrowIfCancellationRequested();
                var (start, length, first) = windows[i];
                if (positions?.Length != length)
                {
                    positions?.Dispose();
                    positions = RotaryEmbedding.Create(model.Config, length, model.Device);
                }
                var ids = new long[length];
                tokens.CopyTo(start, ids);
                var losses = TokenLosses.Compute(model, ids, new ForwardContext(attention, positions)).AsSpan(first - 1);
                var sum = 0.0;
                for (var t = 0; t < losses.Length; t++)
                {
                    sum += losses[t];
                    ref var bin = ref bins[BitOperations.Log2((uint)(first + t))];
                    bin = (bin.Sum + losses[t], bin.Tokens + 1);
                }
                (lossSum, meanSum, scored) = (lossSum + sum, meanSum + sum / losses.Length, scored + losses.Length);
                progress?.Report(new PerplexityProgress(context, i + 1, windows.Count));
            }
        }
        finally
        {
            positions?.Dispose();
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
