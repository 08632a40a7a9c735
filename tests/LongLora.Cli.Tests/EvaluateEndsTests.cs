using System.Text.Json;

namespace LongLora.Cli.Tests;

/// <summary>Answers in evaluations end where those of generate do, also at the tokens of generation_config.json.</summary>
public class EvaluateEndsTests : CliRun
{
    // stories260K, whose every token ends a text.
    private string WriteModel()
    {
        Directory.CreateDirectory(At("ends"));
        foreach (var file in Directory.EnumerateFiles(Stories))
            File.Copy(file, At("ends", Path.GetFileName(file)));
        File.WriteAllText(At("ends", "generation_config.json"), $$"""{"eos_token_id": [{{string.Join(',', Enumerable.Range(0, 512))}}]}""");
        return At("ends");
    }

    [Theory]
    [InlineData("passkey")]
    [InlineData("ruler", "--tasks", "fwe")]
    public void Evaluate_ends_answers_as_generate_does(string task, params string[] more)
    {
        List<string> Answers(string model)
        {
            Succeed(["evaluate", task, "--model", model, "--lengths", "512", "--trials", "2", "--json", At("a.json"), .. more]);
            using var json = JsonDocument.Parse(File.ReadAllText(At("a.json")));
            return [.. FindAll(json.RootElement, "answered")];
        }
        Assert.Contains(Answers(Stories), answer => answer.Length > 0);
        var ended = Answers(WriteModel());
        Assert.Equal(2, ended.Count);
        Assert.All(ended, Assert.Empty);
    }

    private static IEnumerable<string> FindAll(JsonElement element, string name) =>
        element.ValueKind switch
        {
            JsonValueKind.Object => element
                .EnumerateObject()
                .SelectMany(p =>
                    p.Name == name && p.Value.ValueKind == JsonValueKind.String ? [p.Value.GetString()!] : FindAll(p.Value, name)
                ),
            JsonValueKind.Array => element.EnumerateArray().SelectMany(e => FindAll(e, name)),
            _ => [],
        };
}
