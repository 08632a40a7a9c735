using LongLora.Models;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Evaluation;

/// <summary>The loss of each token of a text under a model, with the logits of one chunk of tokens in memory at a time.</summary>
internal static class TokenLosses
{
    /// <summary>-log p(token t | tokens 0 .. t - 1) in nats for t = 1 .. L - 1.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">L token ids, at least 2.</param>
    /// <param name="context">Attention and positions for L tokens.</param>
    public static double[] Compute(CausalLanguageModel model, ReadOnlySpan<long> tokens, ForwardContext context) =>
        Compute(model, tokens, context, null);

    /// <summary>The same, and for each token whether it is the model's most likely one.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">L token ids, at least 2.</param>
    /// <param name="context">Attention and positions for L tokens.</param>
    /// <param name="likeliest">L - 1 elements to write to; null if not needed.</param>
    public static double[] Compute(CausalLanguageModel model, ReadOnlySpan<long> tokens, ForwardContext context, bool[]? likeliest) =>
        Compute(model, tokens, tokens[1..], context, likeliest);

    /// <summary>-log p(token that follows | tokens up to a token) in nats, for some tokens of a text.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">Token ids.</param>
    /// <param name="following">The token that follows each of them, for the first n of them, at least one.</param>
    /// <param name="context">Attention and positions for these tokens.</param>
    /// <param name="likeliest">n elements to write to; null if not needed.</param>
    internal static double[] Compute(
        CausalLanguageModel model,
        ReadOnlySpan<long> tokens,
        ReadOnlySpan<long> following,
        ForwardContext context,
        bool[]? likeliest = null
    )
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        var ids = tensor(tokens.ToArray(), [1, tokens.Length], device: model.Device);
        var targets = tensor(following.ToArray(), device: model.Device);
        var rows = model.Forward(ids, context).squeeze(0); // -> [L, D]
        long count = following.Length,
            chunk = ChunkedCrossEntropy.CountChunkRows(model.Head.OutputSize, model.Device.type == DeviceType.CUDA);
        var losses = new double[count];
        for (long start = 0; start < count; start += chunk)
        {
            using var inner = NewDisposeScope();
            var size = Math.Min(chunk, count - start);
            var logits = model.ApplyHead(rows.narrow(0, start, size));
            var wanted = targets.narrow(0, start, size);
            if (likeliest is not null)
                logits.argmax(1).eq(wanted).cpu().data<bool>().CopyTo(likeliest.AsSpan((int)start));
            ChunkedCrossEntropy.ComputeLosses(logits, wanted).cpu().data<double>().CopyTo(losses.AsSpan((int)start));
        }
        return losses;
    }
}
