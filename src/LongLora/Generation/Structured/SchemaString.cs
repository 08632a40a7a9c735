using System.Text.Json.Nodes;

namespace LongLora.Generation.Structured;

/// <summary>Strings of a JSON schema.</summary>
internal static class SchemaString
{
    private const string Year = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})";

    // February ends on the 28th here, so that each date exists.
    private const string Date =
        Year + "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";

    private const string Time = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,7})?(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])";
    private const string Byte = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    private const string Label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,20}[A-Za-z0-9])?";

    private static readonly Dictionary<string, string> s_formats = new(StringComparer.Ordinal)
    {
        ["date"] = $"^{Date}$",
        ["time"] = $"^{Time}$",
        ["date-time"] = $"^{Date}T{Time}$",
        ["duration"] =
            "^P(?:[0-9]{1,4}D|(?:[0-9]{1,4}D)?T(?:[0-9]{1,4}H(?:[0-9]{1,2}M(?:[0-9]{1,2}S)?)?|[0-9]{1,4}M(?:[0-9]{1,2}S)?|[0-9]{1,4}S))$",
        ["uuid"] = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        ["ipv4"] = $"^{Byte}\\.{Byte}\\.{Byte}\\.{Byte}$",
        ["hostname"] = $"^{Label}(?:\\.{Label}){{0,4}}$",
        ["email"] = $"^[A-Za-z0-9_+-]{{1,32}}(?:\\.[A-Za-z0-9_+-]{{1,32}}){{0,2}}@{Label}(?:\\.{Label}){{1,3}}$",
        ["uri"] =
            $"^[a-z][a-z0-9+.-]{{1,10}}://{Label}(?:\\.{Label}){{0,4}}(?::[1-9][0-9]{{0,3}})?(?:/[A-Za-z0-9._~-]*)*"
            + "(?:\\?[A-Za-z0-9._~=&-]*)?$",
    };

    internal static GrammarExpression Compile(JsonText json, JsonObject schema, string path)
    {
        var (least, most) = Length(schema, path);
        if (Automaton(schema, path) is not { } automaton)
            return json.Sized(least, most);
        automaton = automaton.Bound(least, most);
        if (automaton.IsEmpty)
            return GrammarExpression.Nothing;
        var rule = json.Builder.NewRule($"{path} (a string)");
        rule.Start = automaton.EmitString(json.Builder, json.Builder.Return());
        return GrammarExpression.Call(rule);
    }

    /// <summary>Whether a string satisfies the keywords of strings.</summary>
    internal static bool Fits(string text, JsonObject schema, string path)
    {
        var (least, most) = Length(schema, path);
        var length = text.EnumerateRunes().Count();
        return length >= least && !(length > most) && Automaton(schema, path)?.Matches(text) != false;
    }

    private static (int Least, int? Most) Length(JsonObject schema, string path) =>
        (SchemaNode.Count(schema, "minLength", path) ?? 0, SchemaNode.Count(schema, "maxLength", path));

    private static CharacterAutomaton? Automaton(JsonObject schema, string path)
    {
        CharacterAutomaton? all = null;
        foreach (var pattern in SchemaMerge.Patterns(schema))
        {
            var text =
                pattern is JsonValue value && value.TryGetValue<string>(out var own)
                    ? own
                    : throw SchemaNode.Refuse(path, $"has pattern: {SchemaNode.Shown(pattern)}; it must be a string");
            var one = PatternReader.Read(text);
            all = all is null ? one : all.And(one);
        }
        if (SchemaNode.Text(schema, "format", path) is { } format)
        {
            if (!s_formats.TryGetValue(format, out var pattern))
                throw SchemaNode.Refuse(path, $"has the format '{format}'; formats of strings are {string.Join(", ", s_formats.Keys)}");
            all = all is null ? PatternReader.Read(pattern) : all.And(PatternReader.Read(pattern));
        }
        return all;
    }
}
