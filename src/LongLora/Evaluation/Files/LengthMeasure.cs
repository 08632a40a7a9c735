namespace LongLora.Evaluation;

/// <summary>Results of a model at one length, with full attention.</summary>
/// <param name="Length">Tokens.</param>
/// <param name="Perplexity">On held-out text, by LongLoRA's protocol: every token of a window counts alike.</param>
/// <param name="PassKey">Share of pass keys found, 0 to 1.</param>
internal sealed record LengthMeasure(int Length, double Perplexity, double PassKey);
