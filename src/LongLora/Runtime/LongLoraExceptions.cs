namespace LongLora.Runtime;

/// <summary>Base of the four errors that LongLora reports to its user: what is wrong, where, the values seen, and what to do.</summary>
public abstract class LongLoraException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>An option, a recipe or a combination of them that cannot be run. The command line exits with 2.</summary>
public sealed class ConfigurationException(string message, Exception? inner = null) : LongLoraException(message, inner);

/// <summary>
/// A model folder, weight file, adapter or saved training state that is missing, damaged or unsupported. The command line exits with 3.
/// </summary>
public sealed class CheckpointException(string message, Exception? inner = null) : LongLoraException(message, inner);

/// <summary>Training or evaluation data that is missing, damaged or too short. The command line exits with 3.</summary>
public sealed class DataException(string message, Exception? inner = null) : LongLoraException(message, inner);

/// <summary>A tensor of a shape or type that an operation cannot take: a fault in the calling program.</summary>
public sealed class ShapeException(string message, Exception? inner = null) : LongLoraException(message, inner);
