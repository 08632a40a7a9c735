using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>A JSON value with its location, which messages name: <c>tokenizer.json: model.vocab</c>.</summary>
internal readonly record struct LocatedJson(string File, string Path, JsonElement Value)
{
    /// <summary>Whether there is no value: the member is missing, or null.</summary>
    public bool IsNull => Value.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null;

    /// <summary>A member, which may be missing.</summary>
    public LocatedJson this[string name] =>
        new(
            File,
            Path.Length == 0 ? name : $"{Path}.{name}",
            Expect(JsonValueKind.Object).Value.TryGetProperty(name, out var member) ? member : default
        );

    /// <summary>The elements of a list.</summary>
    public IEnumerable<LocatedJson> ReadItems()
    {
        var self = Expect(JsonValueKind.Array);
        return self.Value.EnumerateArray().Select((element, i) => new LocatedJson(self.File, $"{self.Path}[{i}]", element));
    }

    /// <summary>The members of an object.</summary>
    public IEnumerable<(string Name, LocatedJson Node)> ReadMembers()
    {
        var self = Expect(JsonValueKind.Object);
        return self.Value.EnumerateObject().Select(m => (m.Name, new LocatedJson(self.File, $"{self.Path}.{m.Name}", m.Value)));
    }

    /// <summary>A string.</summary>
    public string ReadText()
    {
        try
        {
            return Expect(JsonValueKind.String).Value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw MakeError("Unicode text");
        }
    }

    /// <summary>A string; null if there is no value.</summary>
    public string? ReadTextOrNull() => IsNull ? null : ReadText();

    /// <summary>An integer.</summary>
    public int ReadInteger() => Expect(JsonValueKind.Number).Value.TryGetInt32(out var value) ? value : throw MakeError("an integer");

    /// <summary>True or false; <paramref name="absent"/> if there is no value.</summary>
    public bool ReadFlag(bool absent = false) => ReadFlagOrNull() ?? absent;

    /// <summary>True or false; null if there is no value.</summary>
    public bool? ReadFlagOrNull() =>
        Value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Null or JsonValueKind.Undefined => null,
            _ => throw MakeError("true or false"),
        };

    /// <summary>The error for any other value.</summary>
    public CheckpointException MakeError(string expected)
    {
        var seen = Value.ValueKind == JsonValueKind.Undefined ? "nothing" : Value.GetRawText();
        return new(
            $"{File}: {Path} must be {expected}, but is {(seen.Length > 100 ? seen[..100] + "..." : seen)}. The file is damaged or has "
                + $"an unknown version."
        );
    }

    /// <summary>This value, after checking its type.</summary>
    public LocatedJson Expect(JsonValueKind kind) =>
        Value.ValueKind == kind
            ? this
            : throw MakeError(
                kind switch
                {
                    JsonValueKind.Object => "an object",
                    JsonValueKind.Array => "a list",
                    JsonValueKind.String => "a string",
                    _ => "a number",
                }
            );
}
