using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Generation;

// L tokens of the text, D model size

/// <summary>
/// A vector for a text: the mean over its tokens of the hidden states after the final norm, those that the head reads. It is not scaled to
/// length 1.
/// </summary>
internal static class TextEmbedding
{
    private const int Chunk = 1024;

    /// <summary>Computes it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="text">L token ids, at least one.</param>
    /// <param name="context">Most tokens.</param>
    /// <param name="pass">Waits for the turn of a chunk and computes it.</param>
    /// <param name="cancellation">Checked before every chunk.</param>
    /// <returns>D numbers.</returns>
    /// <exception cref="DataException">The text is empty or longer than the context.</exception>
    internal static float[] Compute(
        CausalLanguageModel model,
        IReadOnlyList<int> text,
        int context,
        Func<Func<double[]>, double[]> pass,
        CancellationToken cancellation
    )
    {
        if (text.Count == 0 || text.Count > context)
            throw new DataException($"Cannot embed a text of {text.Count:N0} tokens. It must have from 1 to {context:N0}.");
        using var noGradient = no_grad();
        using var cache = new KeyValueCache(model, text.Count, 1, null);
        using var positions = RotaryEmbedding.Create(
            model.Config,
            text.Count,
            model.Device,
            RopeScaling.DependsOnLength(model.Config) ? RopeScaling.GetTextLength(model.Config, text.Count, context) : context
        );
        var sum = new double[model.Config.HiddenSize];
        for (var start = 0; start < text.Count; start += Chunk)
        {
            cancellation.ThrowIfCancellationRequested();
            long[] ids = [.. text.Skip(start).Take(Chunk).Select(id => (long)id)];
            var part = pass(() =>
            {
                using var scope = NewDisposeScope();
                var hidden = CachedPass.Read(model, ids, cache, 0, positions); // [l, D]
                return [.. hidden.to(ScalarType.Float64).sum([0L]).cpu().data<double>()];
            });
            for (var i = 0; i < sum.Length; i++)
                sum[i] += part[i];
        }
        return [.. sum.Select(x => (float)(x / text.Count))];
    }
}
