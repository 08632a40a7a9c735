namespace LongLora.Data;

/// <summary>Where a <see cref="BatchSampler"/> stands: enough to go on with the very next batch.</summary>
/// <param name="Epoch">Passes over the corpus that are complete.</param>
/// <param name="Index">Sequences of this pass that were given out.</param>
/// <param name="Tokens">Tokens learned from so far, as the trainer counts them; rows of whole examples differ in length.</param>
public readonly record struct BatchSamplerState(long Epoch, long Index, long Tokens = 0);
