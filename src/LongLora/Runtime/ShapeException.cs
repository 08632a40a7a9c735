namespace LongLora.Runtime;

/// <summary>An operation does not accept the shape or type of a tensor. This is a bug in the calling program.</summary>
public sealed class ShapeException(string message, Exception? inner = null) : LongLoraException(message, inner);
