using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Tests.Configs;

/// <summary>Every number that we write has the type that <c>save_pretrained</c> gives it: 6 is not 6.0 for transformers.</summary>
public class NumberTypeTests
{
    public static TheoryData<string> Configs()
    {
        var own = Directory.EnumerateFiles(SharedMaterial.Golden("families"), "*.json").Select(f => "own:" + Path.GetFileName(f));
        var shared = SharedMaterial.FindShared("goldens", "families") is { } folder
            ? Directory
                .EnumerateFiles(folder, "config*.json", SearchOption.AllDirectories)
                .Select(f => "shared:" + Path.GetRelativePath(folder, f))
            : [];
        return [.. own.Concat(shared).Order(StringComparer.Ordinal)];
    }

    private static string Read(string name) =>
        File.ReadAllText(
            name.StartsWith("own:", StringComparison.Ordinal)
                ? SharedMaterial.Golden("families", name[4..])
                : SharedMaterial.Shared("goldens", "families", name[7..])
        );

    [Theory]
    [MemberData(nameof(Configs))]
    public void Create_and_update_write_the_types_of_save_pretrained(string name)
    {
        var original = Read(name);
        var config = ModelConfigReader.Parse(original);
        var expected = Types(original);
        foreach (
            var written in new[]
            {
                ModelConfigWriter.Create(config),
                ModelConfigWriter.Update(original, config with { MaxPositions = 4096 }),
            }
        )
        {
            var seen = Types(written);
            Assert.NotEmpty(seen);
            Assert.DoesNotContain(seen, t => expected.TryGetValue(t.Key, out var type) && type != t.Value);
        }
    }

    [Fact]
    public void KeepFloats_spells_every_float_as_one_and_leaves_the_rest()
    {
        var node = JsonNode.Parse("""{"a": 1, "b": 1.50, "c": 1e-5}""")!.AsObject();
        (node["d"], node["e"], node["f"]) = (6.0, 1e-5, new JsonArray(2.0, 3, 1e16, null));
        node["g"] = new JsonObject { ["h"] = 0.1f + 0f };
        Assert.Equal(
            """{"a":1,"b":1.50,"c":1e-5,"d":6.0,"e":1e-05,"f":[2.0,3,1e+16,null],"g":{"h":0.1}}""",
            PythonNumber.KeepFloats(node)!.ToJsonString()
        );
    }

    /// <summary>The numbers of a JSON text by their paths, and whether each is a float.</summary>
    internal static Dictionary<string, bool> Types(string json)
    {
        var types = new Dictionary<string, bool>();
        void Walk(JsonElement element, string path)
        {
            if (element.ValueKind == JsonValueKind.Number)
                types[path] = element.GetRawText().AsSpan().IndexOfAny('.', 'e', 'E') >= 0;
            else if (element.ValueKind == JsonValueKind.Object)
                foreach (var member in element.EnumerateObject())
                    Walk(member.Value, $"{path}.{member.Name}");
            else if (element.ValueKind == JsonValueKind.Array)
                foreach (var (i, item) in element.EnumerateArray().Index())
                    Walk(item, $"{path}[{i}]");
        }
        using var document = JsonDocument.Parse(json);
        Walk(document.RootElement, "");
        return types;
    }
}
