using System.Text.Json;
using System.Text.Json.Nodes;
using static LongLora.Generation.Structured.GrammarExpression;

namespace LongLora.Generation.Structured;

/// <summary>
/// Makes a grammar of a JSON schema. Every text of the grammar is valid under the schema. What is valid is a text of it, with these
/// exceptions: properties come in the schema's order, those of others behind them; an object that names properties has no others unless
/// <c>additionalProperties</c> says so; numbers have no more than <see cref="JsonText.MostDigits"/> digits before and behind the point;
/// enumerated and patterned strings are written in their plainest form.
/// </summary>
internal sealed class SchemaCompiler
{
    private const int MostDepth = 100;
    private readonly JsonText _json;
    private readonly JsonNode _root;
    private readonly SchemaMerge _merge;
    private readonly Dictionary<string, GrammarRule> _references = new(StringComparer.Ordinal);
    private int _depth;

    internal SchemaCompiler(JsonText json, JsonElement schema)
    {
        _json = json;
        try
        {
            _root = JsonNode.Parse(schema.GetRawText(), null, new JsonDocumentOptions { AllowDuplicateProperties = false })
                ?? throw new GrammarException("it is null; a schema is an object.");
        }
        catch (JsonException e)
        {
            throw new GrammarException($"it is damaged: {e.Message}");
        }
        _merge = new SchemaMerge(_root);
    }

    private GrammarBuilder Builder => _json.Builder;

    /// <summary>The texts of the whole schema.</summary>
    internal GrammarExpression Compile() => Call(Reference("#", "#"));

    /// <summary>The texts of the whole schema that are objects, such as the arguments of a function.</summary>
    internal GrammarExpression CompileObject() =>
        _merge.Flatten(_root, "#") is { } flat && SchemaMerge.Merge(flat, new JsonObject { ["type"] = "object" }, "#") is { } both
            ? Flat(both, "#")
            : throw new GrammarException("arguments are an object, and no object satisfies it.");

    private GrammarRule Reference(string pointer, string path)
    {
        if (_references.TryGetValue(pointer, out var rule))
            return rule;
        _references[pointer] = rule = Builder.NewRule(pointer);
        Builder.Define(rule, Value(_merge.Resolve(pointer, path), pointer));
        return rule;
    }

    private GrammarExpression Value(JsonNode? schema, string path)
    {
        if (++_depth > MostDepth)
            throw SchemaNode.Refuse(path, $"nests more than {MostDepth} deep");
        try
        {
            if (schema is JsonObject members)
            {
                // Such parts may contain themselves, and so are rules.
                var binding = SchemaNode.Binding(members, path);
                if (binding.Count == 1 && SchemaNode.Text(binding, "$ref", path) is { } pointer)
                    return Call(Reference(pointer, path));
                foreach (var name in (string[])["anyOf", "oneOf"])
                {
                    if (binding.Count == 1 && SchemaNode.List(binding, name, path) is { } choices)
                    {
                        if (name == "oneOf")
                            RequireDisjoint(choices, path);
                        return Any([.. choices.Select((c, i) => Value(c, $"{path}/{name}/{i}"))]);
                    }
                }
            }
            return _merge.Flatten(schema, path) is { } flat ? Flat(flat, path) : Nothing;
        }
        finally
        {
            _depth--;
        }
    }

    // Without references and allOf.
    private GrammarExpression Flat(JsonObject schema, string path)
    {
        foreach (var name in (string[])["anyOf", "oneOf"])
        {
            if (SchemaNode.List(schema, name, path) is not { } choices)
                continue;
            if (name == "oneOf")
                RequireDisjoint(choices, path);
            var rest = schema.DeepClone().AsObject();
            rest.Remove(name);
            return Any([
                .. choices.Select(
                    (choice, i) =>
                        _merge.Flatten(choice, $"{path}/{name}/{i}") is { } flat && SchemaMerge.Merge(rest, flat, path) is { } both
                            ? Nested(both, $"{path}/{name}/{i}")
                            : Nothing
                ),
            ]);
        }
        if (schema.ContainsKey("enum"))
            return Enumeration(schema, path);
        var types = SchemaNode.Types(schema, path) ?? SchemaTypes.Implied(schema);
        if (schema.Count == 0)
            return Call(_json.Value);
        return types.Count == 0 ? Nothing : Any([.. types.Select(type => Typed(type, schema, path))]);
    }

    private GrammarExpression Nested(JsonObject flat, string path)
    {
        if (++_depth > MostDepth)
            throw SchemaNode.Refuse(path, $"nests more than {MostDepth} deep");
        var expression = Flat(flat, path);
        _depth--;
        return expression;
    }

    private GrammarExpression Typed(string type, JsonObject schema, string path) =>
        type switch
        {
            "object" => new SchemaObject(_json, Value).Compile(schema, path),
            "array" => new SchemaArray(_json, Value).Compile(schema, path),
            "string" => SchemaString.Compile(_json, schema, path),
            "integer" or "number" => Number(schema, type == "integer", path),
            "boolean" => Any(Text("true"), Text("false")),
            _ => Text("null"),
        };

    private GrammarExpression Number(JsonObject schema, bool isWhole, string path)
    {
        var (low, high) = (SchemaNode.Bound(schema, isLow: true, path), SchemaNode.Bound(schema, isLow: false, path));
        if (low is null && high is null)
            return Call(isWhole ? _json.Integer : _json.Number);
        return isWhole ? NumberRange.Whole(low, high) : new NumberRange(_json).Real(low, high);
    }

    private GrammarExpression Enumeration(JsonObject schema, string path)
    {
        var values = SchemaNode.List(schema, "enum", path)!;
        foreach (var name in schema.Select(p => p.Key).Where(n => n is "properties" or "required" or "additionalProperties" or "items"))
        {
            if (values.Any(v => v is JsonObject or JsonArray))
                throw SchemaNode.Refuse(path, $"has {name} beside an enumeration of objects or arrays, which is not supported");
        }
        var types = SchemaNode.Types(schema, path);
        var fitting = new List<GrammarExpression>();
        foreach (var value in values)
        {
            var element = JsonSerializer.SerializeToElement(value);
            var isNumber = element.ValueKind == JsonValueKind.Number;
            var type = SchemaTypes.Of(element);
            if (types is not null && !types.Contains(type) && !(type == "integer" && types.Contains("number")))
                continue;
            if (isNumber && !IsInside(element, schema, path))
                continue;
            if (element.ValueKind == JsonValueKind.String && !SchemaString.Fits(element.GetString()!, schema, path))
                continue;
            fitting.Add(_json.Constant(element));
        }
        return fitting.Count == 0 ? Nothing : Any(fitting);
    }

    private static bool IsInside(JsonElement number, JsonObject schema, string path)
    {
        if (!number.TryGetDecimal(out var value))
            return SchemaNode.Bound(schema, true, path) is null && SchemaNode.Bound(schema, false, path) is null;
        return (SchemaNode.Bound(schema, true, path) is not { } low || (low.IsOut ? value > low.Value : value >= low.Value))
            && (SchemaNode.Bound(schema, false, path) is not { } high || (high.IsOut ? value < high.Value : value <= high.Value));
    }

    // A value that two alternatives allow is invalid under oneOf. A grammar cannot see that, so they must exclude each other.
    private void RequireDisjoint(JsonArray choices, string path)
    {
        var flat = choices.Select((c, i) => _merge.Flatten(c, $"{path}/oneOf/{i}")).ToList();
        var types = new SchemaTypes(_merge);
        for (var i = 0; i < flat.Count; i++)
        for (var j = 0; j < i; j++)
        {
            if (flat[i] is { } x && flat[j] is { } y && !types.AreDisjoint(x, y, path))
                throw SchemaNode.Refuse(
                    path,
                    $"has a oneOf whose alternatives {j} and {i} may allow the same value. Use anyOf, or give both a required property "
                        + "with different constants"
                );
        }
    }
}
