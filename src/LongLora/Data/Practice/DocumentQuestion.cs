namespace LongLora.Data;

/// <summary>A question about a long document, in the fields of LongAlpaca.</summary>
/// <param name="Instruction">The document, and the question after it.</param>
/// <param name="Input">Empty, as in LongAlpaca.</param>
/// <param name="Output">The answer.</param>
internal sealed record DocumentQuestion(string Instruction, string Input, string Output);
