namespace LongLora.Generation.Structured;

/// <summary>A grammar that cannot be made. Its message goes on from "because".</summary>
internal sealed class GrammarException(string message) : Exception(message);
