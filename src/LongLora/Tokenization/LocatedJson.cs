using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>A place in a JSON file, which its readers and its messages know by name: <c>tokenizer.json: model.vocab</c>.</summary>
internal readonly record struct LocatedJson(string File, string Path, JsonElement Value)
{
    /// <summary>Whether there is nothing here: no such member, or null.</summary>
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

    /// <summary>A text.</summary>
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

    /// <summary>A text, or null where there is nothing.</summary>
    public string? ReadTextOrNull() => IsNull ? null : ReadText();

    /// <summary>A whole number.</summary>
    public int ReadInteger() => Expect(JsonValueKind.Number).Value.TryGetInt32(out var value) ? value : throw MakeError("a whole number");

    /// <summary>Yes or no; <paramref name="absent"/> where there is nothing.</summary>
    public bool ReadFlag(bool absent = false) => ReadFlagOrNull() ?? absent;

    /// <summary>Yes or no, or null where there is nothing.</summary>
    public bool? ReadFlagOrNull() =>
        Value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Null or JsonValueKind.Undefined => null,
            _ => throw MakeError("true or false"),
        };

    /// <summary>The error that something else stands here.</summary>
    public CheckpointException MakeError(string expected)
    {
        var seen = Value.ValueKind == JsonValueKind.Undefined ? "nothing" : Value.GetRawText();
        return new(
            $"{File}: {Path} must be {expected}, but is {(seen.Length > 100 ? seen[..100] + "..." : seen)}. The file is damaged, or of "
                + $"an unknown version."
        );
    }

    /// <summary>This place, once it is known to hold that kind of value.</summary>
    public LocatedJson Expect(JsonValueKind kind) =>
        Value.ValueKind == kind
            ? this
            : throw MakeError(
                kind switch
                {
                    JsonValueKind.Object => "an object",
                    JsonValueKind.Array => "a list",
                    JsonValueKind.String => "a text",
                    _ => "a number",
                }
            );
}
