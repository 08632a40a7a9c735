using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Generation.Structured;

/// <summary>The tools of a request and how they are used.</summary>
/// <param name="Tools">The functions.</param>
/// <param name="IsRequired">Whether the answer must be a call; otherwise the model decides.</param>
/// <param name="IsParallel">Whether an answer may have several calls.</param>
internal sealed record ToolUse(IReadOnlyList<ToolDefinition> Tools, bool IsRequired = false, bool IsParallel = true)
{
    /// <summary>All tools as templates take them.</summary>
    internal JsonElement Source => JsonSerializer.SerializeToElement(Tools.Select(t => t.Source));

    /// <summary>The function that must be called; null for any.</summary>
    internal string? Only { get; init; }

    /// <summary>Functions that may be called.</summary>
    /// <exception cref="ConfigurationException">There is none of the name.</exception>
    internal IReadOnlyList<ToolDefinition> Callable =>
        Only is null ? Tools
        : Tools.Where(t => t.Name == Only).ToList() is { Count: > 0 } named ? named
        : throw new ConfigurationException(
            $"There is no function '{Only}' among the tools; there are {string.Join(", ", Tools.Select(t => t.Name))}."
        );

    /// <summary>What tells requests apart whose answers have different formats.</summary>
    internal string Key => $"{IsRequired} {IsParallel} {Only} {Source.GetRawText()}";
}
