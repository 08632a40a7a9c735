namespace LongLora.Runtime;

/// <summary>Training or evaluation data is missing, damaged or too short. The command line exits with 3.</summary>
public sealed class DataException(string message, Exception? inner = null) : LongLoraException(message, inner);
