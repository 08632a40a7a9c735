using System.Text.Json;
using System.Text.Json.Nodes;
using static LongLora.Generation.Structured.GrammarExpression;

namespace LongLora.Generation.Structured;

/// <summary>Arrays of a JSON schema.</summary>
/// <param name="json">The texts of JSON.</param>
/// <param name="value">Compiles the schema of a value at a place.</param>
internal sealed class SchemaArray(JsonText json, Func<JsonNode?, string, GrammarExpression> value)
{
    internal GrammarExpression Compile(JsonObject schema, string path)
    {
        // Before draft 2020-12 the first items stood in "items", and the rest in "additionalItems".
        var isOld = schema["items"] is JsonArray;
        var first = SchemaNode.List(schema, isOld ? "items" : "prefixItems", path) ?? [];
        var rest = schema[isOld ? "additionalItems" : "items"];
        var least = SchemaNode.Count(schema, "minItems", path) ?? 0;
        var most = SchemaNode.Count(schema, "maxItems", path);
        if (first.Count == 0 && least == 0 && most is null && (rest is null || rest.GetValueKind() == JsonValueKind.True))
            return Call(json.Array);
        var rule = json.Builder.NewRule($"{path} (an array)", isContainer: true);
        var items = Items(first, rest, least, most, path);
        json.Builder.Define(rule, Join(Byte("["), json.Blank, items, json.Blank, Byte("]")));
        return Call(rule);
    }

    // From the last to the first: behind each there is an end, where there are enough, or one more.
    private GrammarExpression Items(JsonArray first, JsonNode? rest, int least, int? most, string path)
    {
        var behind = Rest(first.Count, rest, least, most, path);
        for (var i = first.Count - 1; i >= 0; i--)
        {
            var item = Join(i > 0 ? Join(Byte(","), json.Blank) : Empty, value(first[i], $"{path}/prefixItems/{i}"), behind);
            behind =
                i >= most
                    ? i >= least
                        ? Empty
                        : Nothing
                    : i >= least
                        ? Optional(item)
                        : item;
        }
        return behind;
    }

    // Items behind the first ones.
    private GrammarExpression Rest(int count, JsonNode? schema, int least, int? most, string path)
    {
        var fewest = Math.Max(0, least - count);
        if (most < count || (schema is not null && schema.GetValueKind() == JsonValueKind.False))
            return fewest > 0 ? Nothing : Empty;
        var item = schema is null ? Call(json.Value) : value(schema, $"{path}/items");
        var one = json.Builder.NewRule($"{path}/items (and before)", Join(Byte(","), json.Blank, item));
        if (count > 0)
            return Times(one, fewest, most - count);
        if (most == 0)
            return fewest > 0 ? Nothing : Empty;
        var some = Join(item, Times(one, Math.Max(0, fewest - 1), most - 1));
        return fewest == 0 ? Optional(some) : some;
    }
}
