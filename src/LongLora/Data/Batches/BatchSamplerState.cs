namespace LongLora.Data;

/// <summary>The position of a <see cref="BatchSampler"/>, from which it continues with the next batch.</summary>
/// <param name="Epoch">Completed passes over the corpus.</param>
/// <param name="Index">Sequences of this pass that were already used.</param>
/// <param name="Tokens">Tokens learned from so far, as the trainer counts them; rows of whole examples differ in length.</param>
public readonly record struct BatchSamplerState(long Epoch, long Index, long Tokens = 0);
