namespace LongLora.Runtime;

/// <summary>
/// A model folder, weight file, adapter or saved training state is missing, damaged or unsupported. The command line exits with 3.
/// </summary>
public sealed class CheckpointException(string message, Exception? inner = null) : LongLoraException(message, inner);
