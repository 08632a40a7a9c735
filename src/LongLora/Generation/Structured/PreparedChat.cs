namespace LongLora.Generation.Structured;

/// <summary>A conversation as the model reads it, with the format of its answer.</summary>
/// <param name="Tokens">The conversation.</param>
/// <param name="Format">What the answer is bound to; null for nothing.</param>
/// <param name="Calls">How calls of tools are written; null where there are none.</param>
/// <param name="IsCall">Whether the answer must be calls.</param>
internal sealed record PreparedChat(IReadOnlyList<int> Tokens, AnswerFormat? Format, ToolCallFormat? Calls, bool IsCall)
{
    /// <summary>Takes the calls out of one answer; null where there can be none.</summary>
    internal ToolAnswer? NewAnswer() => Calls is null ? null : new ToolAnswer(Calls, IsCall);
}
