using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace LongLora.Generation.Structured;

/// <summary>Reads keywords of a JSON schema, each checked, so that an error names keyword and place.</summary>
internal static class SchemaNode
{
    private static readonly string[] s_types = ["null", "boolean", "object", "array", "string", "integer", "number"];

    /// <summary>What is said about a value and binds nothing.</summary>
    private static readonly HashSet<string> s_notes =
    [
        "$schema",
        "$comment",
        "$defs",
        "definitions",
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentEncoding",
        "contentMediaType",
    ];

    private static readonly HashSet<string> s_known =
    [
        "type",
        "nullable",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "additionalItems",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
    ];

    internal static GrammarException Refuse(string path, string why) => new($"{path} {why}.");

    /// <summary>The keywords that bind something.</summary>
    /// <exception cref="GrammarException">One of them is not supported.</exception>
    internal static JsonObject Binding(JsonObject schema, string path)
    {
        var binding = new JsonObject();
        foreach (var (name, value) in schema)
        {
            // Serializers write what their object does not say as null.
            if (value is null && name != "const")
                continue;
            if (s_notes.Contains(name) || name.StartsWith("x-", StringComparison.Ordinal) || (name == "$id" && path == "#"))
                continue;
            if (!s_known.Contains(name) && !IsHarmless(name, value))
                throw Refuse(path, $"has the keyword '{name}', which is not supported. Remove it, or write the condition in another way");
            if (s_known.Contains(name))
                binding[name] = value?.DeepClone(); // null is a constant
        }
        return binding;
    }

    // Keywords at a value where they bind nothing.
    private static bool IsHarmless(string name, JsonNode? value) =>
        (name, value?.GetValueKind()) switch
        {
            ("uniqueItems", JsonValueKind.False) => true,
            ("minProperties" or "minContains", JsonValueKind.Number) => value!.ToJsonString() == "0",
            ("patternProperties" or "dependentRequired" or "dependentSchemas", JsonValueKind.Object) => value!.AsObject().Count == 0,
            _ => false,
        };

    /// <summary>Its types; null where it does not say.</summary>
    internal static HashSet<string>? Types(JsonObject schema, string path)
    {
        if (schema["type"] is not { } type)
            return null;
        JsonNode?[] names = type is JsonArray list ? [.. list] : [type];
        var types = new HashSet<string>();
        foreach (var name in names)
        {
            if (name?.GetValueKind() != JsonValueKind.String || !s_types.Contains(name.GetValue<string>()))
                throw Refuse(path, $"has the type {name?.ToJsonString() ?? "null"}; a type is one of {string.Join(", ", s_types)}");
            types.Add(name.GetValue<string>());
        }
        if (schema["nullable"] is { } nullable && nullable.GetValueKind() == JsonValueKind.True)
            types.Add("null");
        return types;
    }

    /// <summary>A count; null where there is none.</summary>
    internal static int? Count(JsonObject schema, string name, string path)
    {
        if (schema[name] is not { } node)
            return null;
        return
            node.GetValueKind() == JsonValueKind.Number
            && decimal.TryParse(node.ToJsonString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var value)
            && value >= 0
            && decimal.IsInteger(value)
            ? (int)Math.Min(value, int.MaxValue)
            : throw Refuse(path, $"has {name}: {node.ToJsonString()}; it must be a whole number of at least 0");
    }

    /// <summary>The lower (or upper) end of a range; null where there is none.</summary>
    internal static NumberBound? Bound(JsonObject schema, bool isLow, string path)
    {
        var (closed, open) = isLow ? ("minimum", "exclusiveMinimum") : ("maximum", "exclusiveMaximum");
        // Before draft 6 the open end was a flag beside the closed one.
        var isFlag = schema[open]?.GetValueKind() is JsonValueKind.True or JsonValueKind.False;
        NumberBound? bound = Number(schema, closed, path) is { } value
            ? new NumberBound(value, isFlag && schema[open]!.GetValueKind() == JsonValueKind.True)
            : null;
        if (isFlag || Number(schema, open, path) is not { } edge)
            return bound;
        return bound is { } other && (isLow ? other.Value > edge : other.Value < edge) ? other : new NumberBound(edge, true);
    }

    private static decimal? Number(JsonObject schema, string name, string path)
    {
        if (schema[name] is not { } node)
            return null;
        if (node.GetValueKind() != JsonValueKind.Number)
            throw Refuse(path, $"has {name}: {node.ToJsonString()}; it must be a number");
        if (decimal.TryParse(node.ToJsonString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var value))
            return value;
        // Beyond every number that is written here.
        return node.ToJsonString().StartsWith('-') ? decimal.MinValue : decimal.MaxValue;
    }

    /// <summary>A list of texts; empty where there is none.</summary>
    internal static IReadOnlyList<string> Texts(JsonObject schema, string name, string path) =>
        schema[name] switch
        {
            null => [],
            JsonArray list when list.All(n => n?.GetValueKind() == JsonValueKind.String) => [.. list.Select(n => n!.GetValue<string>())],
            var other => throw Refuse(path, $"has {name}: {Shown(other)}; it must be an array of strings"),
        };

    internal static string? Text(JsonObject schema, string name, string path) =>
        schema[name] switch
        {
            null => null,
            var node when node.GetValueKind() == JsonValueKind.String => node.GetValue<string>(),
            var other => throw Refuse(path, $"has {name}: {Shown(other)}; it must be a string"),
        };

    internal static JsonArray? List(JsonObject schema, string name, string path) =>
        schema[name] switch
        {
            null => null,
            JsonArray { Count: > 0 } list => list,
            var other => throw Refuse(path, $"has {name}: {Shown(other)}; it must be an array that is not empty"),
        };

    internal static JsonObject? Members(JsonObject schema, string name, string path) =>
        schema[name] switch
        {
            null => null,
            JsonObject members => members,
            var other => throw Refuse(path, $"has {name}: {Shown(other)}; it must be an object"),
        };

    internal static string Shown(JsonNode? node)
    {
        var text = node?.ToJsonString() ?? "null";
        return text.Length > 60 ? text[..60] + "..." : text;
    }
}
