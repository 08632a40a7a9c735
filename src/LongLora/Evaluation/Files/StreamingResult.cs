namespace LongLora.Evaluation;

/// <summary>Perplexity along a text with one way to keep keys and values.</summary>
/// <param name="Kept">What is kept, in words, such as <c>4 sinks + 508</c>.</param>
/// <param name="Stretches">The stretches of the text in order.</param>
internal sealed record StreamingResult(string Kept, IReadOnlyList<StreamingStretch> Stretches);
