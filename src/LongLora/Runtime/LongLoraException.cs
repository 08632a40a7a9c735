namespace LongLora.Runtime;

/// <summary>
/// Base of the four errors that LongLora reports to its user. A message says what is wrong, where, the values seen, and what to do.
/// </summary>
public abstract class LongLoraException(string message, Exception? inner = null) : Exception(message, inner);
