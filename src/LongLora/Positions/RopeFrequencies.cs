namespace LongLora.Positions;

/// <summary>The angle by which each pair of dimensions rotates from one token to the next, and a factor on cosine and sine.</summary>
/// <param name="Inverse">[R / 2] radians per token.</param>
/// <param name="AttentionFactor">Multiplies cosine and sine; 1 except for YaRN and LongRoPE.</param>
internal sealed record RopeFrequencies(double[] Inverse, double AttentionFactor);
