namespace LongLora.Runtime;

/// <summary>A tensor of a shape or type that an operation cannot take: a fault in the calling program.</summary>
public sealed class ShapeException(string message, Exception? inner = null) : LongLoraException(message, inner);
