using LongLora.Data;
using LongLora.Tokenization;

namespace LongLora.Documents.Corpus;

/// <summary>One document as a corpus would contain it.</summary>
/// <param name="Name">Where it comes from.</param>
/// <param name="Text">Its first characters, if there is no tokenizer.</param>
/// <param name="Example">Its first tokens, if there is a tokenizer.</param>
/// <param name="Tokenizer">The tokenizer.</param>
public sealed record CorpusPreview(string Name, string? Text, TrainingExample? Example, ITokenizer? Tokenizer);
