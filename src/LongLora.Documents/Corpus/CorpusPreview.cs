using LongLora.Data;
using LongLora.Tokenization;

namespace LongLora.Documents.Corpus;

/// <summary>One document as it would stand in a corpus.</summary>
/// <param name="Name">Where it comes from.</param>
/// <param name="Text">Its beginning, where there is no tokenizer.</param>
/// <param name="Example">Its first tokens, where there is one.</param>
/// <param name="Tokenizer">The tokenizer.</param>
public sealed record CorpusPreview(string Name, string? Text, TrainingExample? Example, ITokenizer? Tokenizer);
