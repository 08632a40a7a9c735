namespace LongLora.Layers;

// N rows, I inputs, O outputs, r rank

/// <summary>Some consecutive features: [Start, Start + Count).</summary>
/// <param name="Start">First feature.</param>
/// <param name="Count">Number of features.</param>
internal readonly record struct FeatureSlice(long Start, long Count);
