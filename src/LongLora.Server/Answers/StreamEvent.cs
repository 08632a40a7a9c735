namespace LongLora.Server;

/// <summary>One server-sent event.</summary>
/// <param name="Name">Its name; null for none.</param>
/// <param name="Data">What becomes JSON; a string is sent as it is.</param>
internal readonly record struct StreamEvent(string? Name, object Data)
{
    /// <summary>What ends the streams of chat and completions.</summary>
    internal static StreamEvent Done { get; } = new(null, "[DONE]");
}
