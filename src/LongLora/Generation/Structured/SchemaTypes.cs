using System.Text.Json;
using System.Text.Json.Nodes;

namespace LongLora.Generation.Structured;

/// <summary>Whether two schemas exclude each other.</summary>
internal sealed class SchemaTypes(SchemaMerge merge)
{
    private const int MostDepth = 4;
    private static readonly string[] s_all = ["object", "array", "string", "number", "boolean", "null"];

    internal static string Of(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Null => "null",
            JsonValueKind.True or JsonValueKind.False => "boolean",
            JsonValueKind.Object => "object",
            JsonValueKind.Array => "array",
            JsonValueKind.String => "string",
            _ => value.TryGetDecimal(out var number) && decimal.IsInteger(number) ? "integer" : "number",
        };

    /// <summary>A schema without a type that has only keywords of objects is one of objects, as people mean it.</summary>
    internal static HashSet<string> Implied(JsonObject schema)
    {
        var implied = new HashSet<string>();
        foreach (var (name, _) in schema)
        {
            var type = name switch
            {
                "properties" or "required" or "additionalProperties" => "object",
                "items" or "prefixItems" or "additionalItems" or "minItems" or "maxItems" => "array",
                "minLength" or "maxLength" or "pattern" or "format" => "string",
                "minimum" or "maximum" or "exclusiveMinimum" or "exclusiveMaximum" => "number",
                _ => null,
            };
            if (type is not null)
                implied.Add(type);
        }
        return implied.Count > 0 ? implied : [.. s_all];
    }

    /// <summary>Whether it is certain that no value satisfies both.</summary>
    internal bool AreDisjoint(JsonObject x, JsonObject y, string path, int depth = 0)
    {
        if (depth > MostDepth || x.ContainsKey("anyOf") || x.ContainsKey("oneOf") || y.ContainsKey("anyOf") || y.ContainsKey("oneOf"))
            return false;
        if (x["enum"] is JsonArray mine && y["enum"] is JsonArray theirs)
            return !mine.Any(m => theirs.Any(t => JsonNode.DeepEquals(m, t)));
        var (first, second) = (Types(x, path), Types(y, path));
        var common = first.Where(t => second.Contains(t) || (t == "integer" && second.Contains("number"))).ToHashSet();
        if (first.Contains("number") && second.Contains("integer"))
            common.Add("integer");
        return common.Count == 0 || (common.SetEquals(["object"]) && ObjectsAreDisjoint(x, y, path, depth));
    }

    private bool ObjectsAreDisjoint(JsonObject x, JsonObject y, string path, int depth)
    {
        var (mine, theirs) = (SchemaNode.Members(x, "properties", path) ?? [], SchemaNode.Members(y, "properties", path) ?? []);
        foreach (var name in SchemaNode.Texts(x, "required", path).Union(SchemaNode.Texts(y, "required", path)))
        {
            if (Lacks(x, mine, name) || Lacks(y, theirs, name))
                return true;
            if (
                mine[name] is { } a
                && theirs[name] is { } b
                && merge.Flatten(a, path) is { } first
                && merge.Flatten(b, path) is { } second
                && AreDisjoint(first, second, path, depth + 1)
            )
                return true;
        }
        return false;
    }

    private static bool Lacks(JsonObject schema, JsonObject properties, string name) =>
        !properties.ContainsKey(name) && schema["additionalProperties"]?.GetValueKind() == JsonValueKind.False;

    private static HashSet<string> Types(JsonObject schema, string path) =>
        schema["enum"] is JsonArray values
            ? [.. values.Select(v => Of(JsonSerializer.SerializeToElement(v)))]
            : SchemaNode.Types(schema, path) ?? Implied(schema);
}
