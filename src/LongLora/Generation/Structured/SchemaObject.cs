using System.Text.Json;
using System.Text.Json.Nodes;
using static LongLora.Generation.Structured.GrammarExpression;

namespace LongLora.Generation.Structured;

/// <summary>Objects of a JSON schema: the properties that it names in its order, then others where it allows them.</summary>
/// <param name="json">The texts of JSON.</param>
/// <param name="value">Compiles the schema of a value at a place.</param>
internal sealed class SchemaObject(JsonText json, Func<JsonNode?, string, GrammarExpression> value)
{
    internal GrammarExpression Compile(JsonObject schema, string path)
    {
        var properties = SchemaNode.Members(schema, "properties", path);
        var required = SchemaNode.Texts(schema, "required", path);
        var others = schema["additionalProperties"];
        if (properties is null && required.Count == 0 && (others is null || others.GetValueKind() == JsonValueKind.True))
            return Call(json.Object);
        var builder = json.Builder;
        var rule = builder.NewRule($"{path} (an object)", isContainer: true);
        var names = new List<(string Name, GrammarExpression Value, bool IsRequired)>();
        foreach (var (name, property) in properties ?? [])
            names.Add((name, value(property, $"{path}/properties/{name}"), required.Contains(name)));
        // What is required and not described is any value that others may be.
        foreach (var name in required.Where(r => properties?.ContainsKey(r) != true).Distinct())
            names.Add((name, others is null ? Call(json.Value) : value(others, $"{path}/additionalProperties"), true));

        var end = builder.Emit(Join(json.Blank, Byte("}")), builder.Return());
        var (first, further) = Others(names.ConvertAll(n => n.Name), others, properties is null, end, path);
        for (var i = names.Count - 1; i >= 0; i--)
        {
            var (name, of, isRequired) = names[i];
            var member = Join(Text(JsonText.Write(name) + ":"), json.Blank, of);
            var begun = builder.Emit(member, further);
            var joined = builder.Emit(Join(Byte(","), json.Blank), begun);
            (first, further) = isRequired ? (begun, joined) : (builder.Split(begun, first), builder.Split(joined, further));
        }
        rule.Start = builder.Emit(Join(Byte("{"), json.Blank), first);
        return Call(rule);
    }

    // Where others begin: as the first of the object, and behind another.
    private (int First, int Further) Others(List<string> names, JsonNode? others, bool isOpen, int end, string path)
    {
        var builder = json.Builder;
        if (others is null ? !isOpen : others.GetValueKind() == JsonValueKind.False)
            return (end, end);
        var of = others is null ? Call(json.Value) : value(others, $"{path}/additionalProperties");
        var further = builder.Split(end);
        var behind = builder.Emit(Join(Byte(":"), json.Blank, of), further);
        var key = CharacterAutomaton.NotAmong(names).EmitString(builder, behind);
        builder.AddChoice(further, builder.Emit(Join(Byte(","), json.Blank), key));
        return (builder.Split(key, end), further);
    }
}
