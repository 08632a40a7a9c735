namespace LongLora.Studies;

/// <summary>What a model does at one length.</summary>
/// <param name="Length">Tokens.</param>
/// <param name="PassKey">Share of pass keys found.</param>
/// <param name="Perplexity">On held-out text, every token of the window counting alike; not a number where no text is that long.</param>
public sealed record QuickstartMeasure(int Length, double PassKey, double Perplexity);
