using System.Text.Json;
using System.Text.Json.Nodes;

namespace LongLora.Generation.Structured;

/// <summary>Makes one schema of several that must hold together, and follows references.</summary>
internal sealed class SchemaMerge(JsonNode root)
{
    private const int MostSteps = 64;
    private const int MostChoices = 256;

    /// <summary>What a reference refers to.</summary>
    internal JsonNode Resolve(string reference, string path)
    {
        if (reference != "#" && !reference.StartsWith("#/", StringComparison.Ordinal))
            throw SchemaNode.Refuse(path, $"refers to '{reference}'; references within the schema, such as #/$defs/NAME, are supported");
        var node = root;
        foreach (var part in reference.Split('/').Skip(1).Select(p => Uri.UnescapeDataString(p).Replace("~1", "/").Replace("~0", "~")))
        {
            node = node switch
            {
                JsonObject members => members[part],
                JsonArray items when int.TryParse(part, out var at) && at >= 0 && at < items.Count => items[at],
                _ => null,
            };
            if (node is null)
                throw SchemaNode.Refuse(path, $"refers to '{reference}', which the schema does not have");
        }
        return node;
    }

    /// <summary>A schema without references and <c>allOf</c> on its first level; null for one that no value satisfies.</summary>
    internal JsonObject? Flatten(JsonNode? schema, string path, int steps = 0)
    {
        if (steps > MostSteps)
            throw SchemaNode.Refuse(path, $"refers to itself without end, or nests more than {MostSteps} deep");
        if (schema is not JsonObject members)
            return schema?.GetValueKind() switch
            {
                JsonValueKind.True => [],
                JsonValueKind.False => null,
                _ => throw SchemaNode.Refuse(path, $"is {SchemaNode.Shown(schema)}; a schema is an object, true or false"),
            };
        var flat = SchemaNode.Binding(members, path);
        // A constant is an enumeration of one.
        if (flat.ContainsKey("const"))
        {
            var single = new JsonObject { ["enum"] = new JsonArray(flat["const"]?.DeepClone()) };
            flat.Remove("const");
            if (Merge(flat, single, path) is not { } bound)
                return null;
            flat = bound;
        }
        var parts = new List<(JsonNode? Schema, string Path)>();
        if (SchemaNode.Text(flat, "$ref", path) is { } reference)
            parts.Add((Resolve(reference, path), reference));
        foreach (var (i, part) in (SchemaNode.List(flat, "allOf", path) ?? []).Index())
            parts.Add((part, $"{path}/allOf/{i}"));
        flat.Remove("$ref");
        flat.Remove("allOf");
        foreach (var (part, where) in parts)
        {
            if (Flatten(part, where, steps + 1) is not { } other || Merge(flat, other, path) is not { } both)
                return null;
            flat = both;
        }
        return flat;
    }

    /// <summary>A flat schema of two that must both hold; null if no value can satisfy both.</summary>
    internal static JsonObject? Merge(JsonObject x, JsonObject y, string path)
    {
        var merged = x.DeepClone().AsObject();
        foreach (var (name, value) in y)
        {
            if (name is "properties" or "additionalProperties")
                continue;
            if (!merged.ContainsKey(name))
            {
                merged[name] = value?.DeepClone();
                continue;
            }
            var mine = merged[name];
            switch (name)
            {
                case "type":
                    if (Meet(SchemaNode.Types(x, path)!, SchemaNode.Types(y, path)!) is not { Count: > 0 } types)
                        return null;
                    merged[name] = new JsonArray([.. types.Select(t => (JsonNode)t)]);
                    break;
                case "nullable":
                    break; // part of the types
                case "enum":
                    var theirs = SchemaNode.List(y, name, path)!;
                    JsonNode?[] common = [.. SchemaNode.List(x, name, path)!.Where(m => theirs.Any(v => JsonNode.DeepEquals(m, v)))];
                    if (common.Length == 0)
                        return null;
                    merged[name] = new JsonArray([.. common.Select(c => c?.DeepClone())]);
                    break;
                case "required":
                    var names = SchemaNode.Texts(x, name, path).Union(SchemaNode.Texts(y, name, path));
                    merged[name] = new JsonArray([.. names.Select(n => (JsonNode)n)]);
                    break;
                case "minItems" or "minLength":
                    merged[name] = Math.Max(SchemaNode.Count(x, name, path)!.Value, SchemaNode.Count(y, name, path)!.Value);
                    break;
                case "maxItems" or "maxLength":
                    merged[name] = Math.Min(SchemaNode.Count(x, name, path)!.Value, SchemaNode.Count(y, name, path)!.Value);
                    break;
                case "pattern":
                    merged[name] = new JsonArray([.. Patterns(x), .. Patterns(y)]);
                    break;
                case "items" when mine is not JsonArray && value is not JsonArray:
                    merged[name] = Both(mine, value);
                    break;
                case "anyOf" or "oneOf":
                    merged[name] = Product(SchemaNode.List(x, name, path)!, SchemaNode.List(y, name, path)!, path);
                    break;
                case "minimum" or "maximum" or "exclusiveMinimum" or "exclusiveMaximum":
                    merged[name] = Tighter(name, x, y, path);
                    break;
                default:
                    if (!JsonNode.DeepEquals(mine, value))
                        throw SchemaNode.Refuse(path, $"has two different values of '{name}' that must both hold, which is not supported");
                    break;
            }
        }
        if (x.ContainsKey("type") && y.ContainsKey("type"))
            merged.Remove("nullable");
        MergeProperties(merged, x, y, path);
        return merged;
    }

    private static JsonObject Both(JsonNode? x, JsonNode? y) =>
        new JsonObject { ["allOf"] = new JsonArray(x?.DeepClone(), y?.DeepClone()) };

    internal static IEnumerable<JsonNode?> Patterns(JsonObject schema) =>
        schema["pattern"] is JsonArray list ? list.Select(p => p?.DeepClone())
        : schema["pattern"] is { } one ? [one.DeepClone()]
        : [];

    private static JsonArray Product(JsonArray x, JsonArray y, string path)
    {
        if (x.Count * y.Count > MostChoices)
            throw SchemaNode.Refuse(path, $"has more than {MostChoices} combinations of alternatives");
        return new JsonArray([.. from mine in x from theirs in y select Both(mine, theirs)]);
    }

    private static JsonNode? Tighter(string name, JsonObject x, JsonObject y, string path)
    {
        var isLow = name.EndsWith("inimum", StringComparison.Ordinal);
        if (x[name]!.GetValueKind() != JsonValueKind.Number || y[name]!.GetValueKind() != JsonValueKind.Number)
            throw SchemaNode.Refuse(path, $"has {name} twice in different forms, which is not supported");
        JsonObject mine = new() { [name] = x[name]!.DeepClone() },
            theirs = new() { [name] = y[name]!.DeepClone() };
        var (a, b) = (SchemaNode.Bound(mine, isLow, path)!.Value.Value, SchemaNode.Bound(theirs, isLow, path)!.Value.Value);
        return (isLow ? a >= b : a <= b) ? mine[name]!.DeepClone() : theirs[name]!.DeepClone();
    }

    // A property that one of them does not name is bound by what that one says of others.
    private static void MergeProperties(JsonObject merged, JsonObject x, JsonObject y, string path)
    {
        var (mine, theirs) = (SchemaNode.Members(x, "properties", path), SchemaNode.Members(y, "properties", path));
        var all = new JsonObject();
        foreach (var name in (mine ?? []).Select(p => p.Key).Union((theirs ?? []).Select(p => p.Key)))
        {
            var first = mine?.ContainsKey(name) == true ? mine[name] : x["additionalProperties"];
            var second = theirs?.ContainsKey(name) == true ? theirs[name] : y["additionalProperties"];
            all[name] =
                first is null ? second!.DeepClone()
                : second is null ? first.DeepClone()
                : Both(first, second);
        }
        if (mine is not null || theirs is not null)
            merged["properties"] = all;
        if (y["additionalProperties"] is { } further)
            merged["additionalProperties"] = x["additionalProperties"] is { } own ? Both(own, further) : further.DeepClone();
    }

    private static HashSet<string> Meet(HashSet<string> x, HashSet<string> y)
    {
        var types = x.Intersect(y).ToHashSet();
        if ((x.Contains("integer") && y.Contains("number")) || (x.Contains("number") && y.Contains("integer")))
            types.Add("integer");
        return types;
    }
}
