using LongLora.Generation.Structured;

namespace LongLora.Server;

/// <summary>A call of a function as an item of <c>/v1/responses</c>.</summary>
/// <param name="Id">The item's own identifier. The result comes back under that of the call.</param>
/// <param name="Call">The call.</param>
internal sealed record ResponseCall(string Id, ToolCall Call)
{
    /// <summary>Gives each call an identifier.</summary>
    internal static IReadOnlyList<ResponseCall> Number(IReadOnlyList<ToolCall> calls) =>
        [.. calls.Select(call => new ResponseCall("fc_" + Guid.NewGuid().ToString("N"), call))];

    /// <summary>How it ended.</summary>
    internal string Status => Call.IsCut ? "incomplete" : "completed";

    /// <summary>The item. One that has just begun has no arguments yet.</summary>
    internal object ToItem(string status) =>
        new
        {
            type = "function_call",
            id = Id,
            call_id = Call.Id,
            name = Call.Name,
            arguments = status == "in_progress" ? "" : Call.Arguments,
            status,
        };
}
