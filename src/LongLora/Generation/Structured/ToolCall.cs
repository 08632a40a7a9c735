namespace LongLora.Generation.Structured;

/// <summary>A call that a model asks for.</summary>
/// <param name="Id">Its identifier, under which the result comes back.</param>
/// <param name="Name">The function.</param>
/// <param name="Arguments">Its arguments, a JSON object; the beginning of one where the answer was cut off in it.</param>
internal sealed record ToolCall(string Id, string Name, string Arguments)
{
    /// <summary>Whether the answer ended before the arguments did.</summary>
    internal bool IsCut { get; init; }
}
