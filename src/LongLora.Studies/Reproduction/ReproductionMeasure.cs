namespace LongLora.Studies;

/// <summary>What a model does at one length, with full attention.</summary>
/// <param name="Length">Tokens.</param>
/// <param name="Perplexity">
/// On held-out text, windows one after the other, all their tokens alike (LongLoRA's protocol with a stride of one window).
/// </param>
/// <param name="PassKey">Share of pass keys found.</param>
public sealed record ReproductionMeasure(int Length, double Perplexity, double PassKey);
