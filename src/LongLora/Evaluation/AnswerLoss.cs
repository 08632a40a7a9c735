using LongLora.Attention;
using LongLora.Data;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;

namespace LongLora.Evaluation;

/// <summary>Measures how well a model predicts the answers of examples, each example alone and with full attention.</summary>
public static class AnswerLoss
{
    /// <summary>Measures a model.</summary>
    /// <param name="model">The model.</param>
    /// <param name="examples">Examples; without labels every token but the first is scored.</param>
    /// <param name="progress">Receives the number of examples done.</param>
    /// <param name="cancellation">Checked once per example.</param>
    /// <exception cref="DataException">No example has a token to score.</exception>
    public static AnswerLossResult Evaluate(
        CausalLanguageModel model,
        IEnumerable<TrainingExample> examples,
        IProgress<int>? progress = null,
        CancellationToken cancellation = default
    )
    {
        var attention = new FullAttention();
        var (sum, tokens, count, exact) = (0.0, 0L, 0, 0);
        foreach (var example in examples)
        {
            cancellation.ThrowIfCancellationRequested();
            long[] ids = [.. example.Ids];
            if (ids.Length < 2)
                continue;
            using var positions = RotaryEmbedding.Create(model.Config, ids.Length, model.Device);
            var likeliest = new bool[ids.Length - 1];
            var losses = TokenLosses.Compute(model, ids, new ForwardContext(attention, positions), likeliest);
            var (scored, missed) = (0, 0);
            for (var i = 1; i < ids.Length; i++)
            {
                if (example.Labels is not null && example.Labels[i] == TrainingExample.IgnoredLabel)
                    continue;
                sum += losses[i - 1];
                scored++;
                missed += likeliest[i - 1] ? 0 : 1;
            }
            tokens += scored;
            count += scored > 0 ? 1 : 0;
            exact += scored > 0 && missed == 0 ? 1 : 0;
            progress?.Report(count);
        }
        return tokens > 0
            ? new AnswerLossResult(sum / tokens, tokens, count, exact)
            : throw new DataException("There is nothing to score because no example has an answer.");
    }
}
