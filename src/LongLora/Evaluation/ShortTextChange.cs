using System.Text.Json.Serialization;

namespace LongLora.Evaluation;

/// <summary>One measure on short text.</summary>
/// <param name="Measure">perplexity (lower is better), or passkey (share found).</param>
/// <param name="Length">Tokens of a text.</param>
/// <param name="Before">The original model.</param>
/// <param name="After">The extended model.</param>
internal sealed record ShortTextChange(string Measure, int Length, double Before, double After)
{
    /// <summary>Change in percent of the value before: for perplexity, what was lost.</summary>
    [JsonIgnore]
    public double Percent => 100 * (After / Before - 1);
}
