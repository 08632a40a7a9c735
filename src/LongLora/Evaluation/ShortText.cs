using LongLora.Data;
using LongLora.Models;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Evaluation;

/// <summary>
/// Measures what a model lost on texts within its original context, with the same measures before and after it was extended.
/// </summary>
internal static class ShortText
{
    /// <summary>Measures one model at its original context, and at half and a quarter of it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">
    /// The text. Consecutive windows are scored (LongLoRA's protocol with a stride of one window).
    /// </param>
    /// <param name="native">The context before the extension.</param>
    /// <param name="tokenizer">For pass keys; null for none.</param>
    /// <param name="trials">Number of pass keys; 0 for none.</param>
    /// <param name="seed">Seed of the first pass key.</param>
    /// <param name="ends">Tokens that end answers; null for those of config and tokenizer.</param>
    /// <param name="cancellation">Cancels the work.</param>
    public static IReadOnlyList<(string Measure, int Length, double Value)> Measure(
        CausalLanguageModel model,
        TokenStore tokens,
        int native,
        ITokenizer? tokenizer = null,
        int trials = 0,
        int seed = 0,
        IReadOnlyList<int>? ends = null,
        CancellationToken cancellation = default
    )
    {
        var measures = new List<(string, int, double)>();
        foreach (var length in new[] { native / 4, native / 2, native }.Where(length => length >= 2))
            measures.Add(
                (
                    "perplexity",
                    length,
                    Perplexity.Evaluate(model, tokens, length, PerplexityProtocol.LongLora, length, null, null, cancellation).Perplexity
                )
            );
        if (tokenizer is not null && trials > 0)
            measures.Add(
                (
                    "passkey",
                    native,
                    RetrievalEvaluation
                        .Run(model, tokenizer, new PasskeyTask(), native, trials, seed, ends: ends, cancellation: cancellation)
                        .Accuracy
                )
            );
        return measures;
    }

    /// <summary>Compares the measures of two models.</summary>
    /// <param name="before">Measures of the original model.</param>
    /// <param name="after">Measures of the extended model.</param>
    /// <exception cref="ConfigurationException">They are not the same measures.</exception>
    public static IReadOnlyList<ShortTextChange> Compare(
        IReadOnlyList<(string Measure, int Length, double Value)> before,
        IReadOnlyList<(string Measure, int Length, double Value)> after
    ) =>
        before.Select(b => (b.Measure, b.Length)).SequenceEqual(after.Select(a => (a.Measure, a.Length)))
            ? [.. before.Zip(after, (b, a) => new ShortTextChange(b.Measure, b.Length, b.Value, a.Value))]
            : throw new ConfigurationException("Cannot compare the two models because they were not measured at the same lengths.");
}
