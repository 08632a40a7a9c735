namespace LongLora.Generation;

/// <summary>A part of an answer that is being made.</summary>
/// <param name="Text">Text that later tokens cannot change; empty in the last piece.</param>
/// <param name="Time">From the beginning of the generation to this piece; waiting for its turn is not counted.</param>
/// <param name="Result">The whole answer, in the last piece alone; null in all others.</param>
public readonly record struct AnswerPiece(string Text, TimeSpan Time, GenerationResult? Result);
