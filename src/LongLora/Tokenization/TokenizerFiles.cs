using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Tokenization;

/// <summary>Opens the files of a tokenizer; every failure is a <see cref="CheckpointException"/> that names the file.</summary>
internal static class TokenizerFiles
{
    // The largest in use have 35 MB.
    private const long LargestFile = 512L << 20;

    /// <summary>The bytes of a file.</summary>
    public static byte[] ReadAllBytes(string path)
    {
        using var stream = Open(path);
        if (stream.Length > LargestFile)
            throw new CheckpointException($"{path} has {stream.Length} bytes; a tokenizer has at most {LargestFile}. Fetch the file again.");
        var bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }

    /// <summary>A file, open for reading.</summary>
    public static FileStream Open(string path)
    {
        try
        {
            return File.OpenRead(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>A file as JSON; its root is an object.</summary>
    public static JsonDocument ReadJson(string path)
    {
        JsonDocument document;
        try
        {
            var bytes = ReadAllBytes(path).AsMemory();
            // Some editors put a byte order mark in front.
            document = JsonDocument.Parse(bytes.Span is [0xEF, 0xBB, 0xBF, ..] ? bytes[3..] : bytes);
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{path} is not JSON, or damaged: {e.Message} Fetch the file again.", e);
        }
        if (document.RootElement.ValueKind == JsonValueKind.Object)
            return document;
        document.Dispose();
        throw new CheckpointException($"{path} is not a JSON object. Fetch the file again.");
    }

    /// <summary>A file as JSON, or null where there is none.</summary>
    public static JsonDocument? ReadJsonIfPresent(string path) => File.Exists(path) ? ReadJson(path) : null;
}

/// <summary>A place in a JSON file, which its readers and its messages know by name: <c>tokenizer.json: model.vocab</c>.</summary>
internal readonly record struct JsonNode(string File, string Path, JsonElement Value)
{
    /// <summary>Whether there is nothing here: no such member, or null.</summary>
    public bool IsNull => Value.ValueKind is JsonValueKind.Undefined or JsonValueKind.Null;

    /// <summary>A member, which may be missing.</summary>
    public JsonNode this[string name] =>
        new(File, Path.Length == 0 ? name : $"{Path}.{name}", Expect(JsonValueKind.Object).Value.TryGetProperty(name, out var member) ? member : default);

    /// <summary>The elements of a list.</summary>
    public IEnumerable<JsonNode> Items()
    {
        var self = Expect(JsonValueKind.Array);
        return self.Value.EnumerateArray().Select((element, i) => new JsonNode(self.File, $"{self.Path}[{i}]", element));
    }

    /// <summary>The members of an object.</summary>
    public IEnumerable<(string Name, JsonNode Node)> Members()
    {
        var self = Expect(JsonValueKind.Object);
        return self.Value.EnumerateObject().Select(m => (m.Name, new JsonNode(self.File, $"{self.Path}.{m.Name}", m.Value)));
    }

    /// <summary>A text.</summary>
    public string Text() => Expect(JsonValueKind.String).Value.GetString()!;

    /// <summary>A text, or null where there is nothing.</summary>
    public string? TextOrNull() => IsNull ? null : Text();

    /// <summary>A whole number.</summary>
    public int Integer() => Expect(JsonValueKind.Number).Value.TryGetInt32(out var value) ? value : throw Fault("a whole number");

    /// <summary>Yes or no; <paramref name="absent"/> where there is nothing.</summary>
    public bool Flag(bool absent = false) => FlagOrNull() ?? absent;

    /// <summary>Yes or no, or null where there is nothing.</summary>
    public bool? FlagOrNull() => Value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Null or JsonValueKind.Undefined => null,
        _ => throw Fault("true or false"),
    };

    /// <summary>The error that something else stands here.</summary>
    public CheckpointException Fault(string expected)
    {
        var seen = Value.ValueKind == JsonValueKind.Undefined ? "nothing" : Value.GetRawText();
        return new($"{File}: {Path} must be {expected}, but is {(seen.Length > 100 ? seen[..100] + "..." : seen)}. The file is damaged, or of an unknown version.");
    }

    private JsonNode Expect(JsonValueKind kind) => Value.ValueKind == kind ? this : throw Fault(kind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a text",
        _ => "a number",
    });
}
