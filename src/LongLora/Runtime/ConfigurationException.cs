namespace LongLora.Runtime;

/// <summary>An option, a recipe or a combination of options that cannot run. The command line exits with 2.</summary>
public sealed class ConfigurationException(string message, Exception? inner = null) : LongLoraException(message, inner);
