using LongLora.Data;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Evaluation;

/// <summary>
/// Measures perplexity of a text that is read once from start to end, where each token sees what the cache holds at that time, as in
/// StreamingLLM (arXiv 2309.17453, figure 5). A stable model has the same loss everywhere.
/// </summary>
internal static class StreamingPerplexity
{
    /// <summary>Measures a text in constant memory.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The text; documents are joined to one text.</param>
    /// <param name="options">Sinks and window; no sinks is a plain window.</param>
    /// <param name="stretch">Tokens per part of the result, at least 1.</param>
    /// <param name="type">Number format of keys and values; null for the type that the model computes in.</param>
    /// <param name="progress">Receives the number of tokens read.</param>
    /// <param name="cancellation">Checked once per chunk.</param>
    /// <exception cref="DataException">The text has fewer than two tokens.</exception>
    public static IReadOnlyList<StreamingStretch> Evaluate(
        CausalLanguageModel model,
        TokenStore tokens,
        StreamingOptions options,
        long stretch,
        KeyValueType? type = null,
        IProgress<long>? progress = null,
        CancellationToken cancellation = default
    )
    {
        using var cache = new StreamingCache(model, options, type);
        return Evaluate(model, tokens, stretch, cache.ChunkTokens, ids => CachedPass.Read(model, ids, cache), progress, cancellation);
    }

    /// <summary>The same with full attention to everything before a token, which takes a cache of the whole text.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The text.</param>
    /// <param name="stretch">Tokens per part of the result, at least 1.</param>
    /// <param name="type">Number format of keys and values; null for the type that the model computes in.</param>
    /// <param name="progress">Receives the number of tokens read.</param>
    /// <param name="cancellation">Checked once per chunk.</param>
    /// <exception cref="DataException">The text has fewer than two tokens.</exception>
    public static IReadOnlyList<StreamingStretch> EvaluateFull(
        CausalLanguageModel model,
        TokenStore tokens,
        long stretch,
        KeyValueType? type = null,
        IProgress<long>? progress = null,
        CancellationToken cancellation = default
    )
    {
        const int chunk = 512;
        var length = (int)Math.Min(tokens.Count, int.MaxValue);
        using var cache = new KeyValueCache(model, Math.Max(1, length), 1, type);
        using var positions = Positions.RotaryEmbedding.Create(model.Config, Math.Max(1, length), model.Device);
        return Evaluate(model, tokens, stretch, chunk, ids => CachedPass.Read(model, ids, cache, 0, positions), progress, cancellation);
    }

    private delegate Tensor Reader(ReadOnlySpan<long> ids);

    private static List<StreamingStretch> Evaluate(
        CausalLanguageModel model,
        TokenStore tokens,
        long stretch,
        int chunk,
        Reader read,
        IProgress<long>? progress,
        CancellationToken cancellation
    )
    {
        if (stretch < 1)
            throw new ConfigurationException($"stretch is {stretch}; it must be at least 1 token.");
        if (tokens.Count < 2)
            throw new DataException($"The text has {tokens.Count} tokens, but perplexity needs at least 2.");
        using var noGradient = no_grad();
        chunk = (int)Math.Min(chunk, ChunkedCrossEntropy.CountChunkRows(model.Head.OutputSize));
        var (results, sum, scored, begun) = (new List<StreamingStretch>(), 0.0, 0L, 1L);
        var ids = new long[chunk + 1];
        for (long start = 0; start < tokens.Count - 1; start += chunk)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            var count = (int)Math.Min(chunk, tokens.Count - 1 - start);
            tokens.CopyTo(start, ids.AsSpan(0, count + 1));
            var logits = model.ApplyHead(read(ids.AsSpan(0, count))); // [l, D] -> [l, V]
            foreach (
                var loss in ChunkedCrossEntropy
                    .ComputeLosses(logits, tensor(ids[1..(count + 1)], device: model.Device))
                    .cpu()
                    .data<double>()
            )
            {
                (sum, scored) = (sum + loss, scored + 1);
                if (scored == stretch)
                    End();
            }
            progress?.Report(start + count);
            HostMemory.TrimIfGrown();
        }
        if (scored > 0)
            End();
        return results;

        void End()
        {
            results.Add(new(begun, scored, sum / scored));
            (begun, sum, scored) = (begun + scored, 0, 0);
        }
    }
}
