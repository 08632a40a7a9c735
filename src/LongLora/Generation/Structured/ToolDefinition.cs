using System.Text.Json;
using System.Text.RegularExpressions;
using LongLora.Runtime;

namespace LongLora.Generation.Structured;

/// <summary>A function that a model may ask for.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Parameters">JSON schema of its arguments; null for none.</param>
/// <param name="Source">All of it in OpenAI's form, as templates take it.</param>
internal sealed partial record ToolDefinition(string Name, JsonElement? Parameters, JsonElement Source)
{
    /// <summary>Reads a list of tools in OpenAI's form.</summary>
    /// <exception cref="ConfigurationException">It is something else; the message says which part.</exception>
    internal static IReadOnlyList<ToolDefinition> ReadAll(JsonElement tools)
    {
        if (tools.ValueKind != JsonValueKind.Array)
            throw new ConfigurationException($"tools is a JSON {tools.ValueKind}; it must be an array of functions.");
        var read = tools.EnumerateArray().Select(Read).ToList();
        if (read.GroupBy(t => t.Name, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { } twins)
            throw new ConfigurationException($"tools has {twins.Count()} functions named '{twins.Key}'. Give each a name of its own.");
        return read;
    }

    /// <summary>A function of which the parts are known.</summary>
    internal static ToolDefinition Create(string name, string? description, JsonElement parameters)
    {
        var function = new Dictionary<string, object?> { ["name"] = name };
        if (!string.IsNullOrEmpty(description))
            function["description"] = description;
        function["parameters"] = parameters;
        return Read(
            JsonSerializer.SerializeToElement(new Dictionary<string, object?> { ["type"] = "function", ["function"] = function }),
            0
        );
    }

    private static ToolDefinition Read(JsonElement tool, int number)
    {
        var place = $"tools[{number}]";
        if (tool.ValueKind != JsonValueKind.Object || !IsFunction(tool))
            throw new ConfigurationException($"{place} is not of type function; a model that runs here can call nothing else.");
        if (!tool.TryGetProperty("function", out var function) || function.ValueKind != JsonValueKind.Object)
            throw new ConfigurationException($"{place}.function is missing; give an object with name, description and parameters.");
        if (!function.TryGetProperty("name", out var name) || name.ValueKind != JsonValueKind.String || !Names().IsMatch(name.GetString()!))
        {
            throw new ConfigurationException(
                $"{place}.function.name is {(name.ValueKind == JsonValueKind.Undefined ? "missing" : name.GetRawText())}; it must be 1 to "
                    + "64 letters, digits, '_', '-' or '.'."
            );
        }
        JsonElement? parameters =
            function.TryGetProperty("parameters", out var given) && given.ValueKind != JsonValueKind.Null ? given.Clone() : null;
        if (parameters is { ValueKind: not JsonValueKind.Object })
            throw new ConfigurationException(
                $"{place}.function.parameters is {MessageText.Bound(given.GetRawText(), 200)}; it must be the JSON schema of an object."
            );
        return new ToolDefinition(name.GetString()!, parameters, tool.Clone());
    }

    private static bool IsFunction(JsonElement tool) =>
        tool.TryGetProperty("type", out var type) && type.ValueKind == JsonValueKind.String && type.ValueEquals("function");

    [GeneratedRegex(@"^[A-Za-z0-9_.-]{1,64}\z")]
    private static partial Regex Names();
}
