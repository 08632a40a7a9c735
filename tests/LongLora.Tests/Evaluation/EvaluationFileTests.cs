using System.Text.Json.Nodes;
using LongLora.Evaluation;
using LongLora.Runtime;

namespace LongLora.Tests.Evaluation;

public class EvaluationFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    // One file of each kind, to the letter: other programs read them.
    private static readonly Dictionary<string, (EvaluationFile File, string Json)> s_files = new()
    {
        ["perplexity"] = (
            new PerplexityFile
            {
                Model = "m",
                Adapter = "a",
                Results = [new PerplexityResult(64, 0, 63) { ByPosition = [new(1, 1, 0.5, 1), new(2, 3, 0.25, 2)] }],
            },
            """
            {"version":1,"kind":"perplexity","task":"perplexity","model":"m","adapter":"a",
             "results":[{"context":64,"loss":0,"tokens":63,"perplexity":1,
             "positions":[{"from":1,"to":1,"loss":0.5,"tokens":1},{"from":2,"to":3,"loss":0.25,"tokens":2}]}]}
            """
        ),
        ["retrieval"] = (
            new RetrievalFile
            {
                Task = "passkey",
                Model = "m",
                Scoring = RetrievalScoring.Likelihood,
                Results = [new(512, [new(0, 0.5, 500, true, " 4"), new(1, 0.25, 501, false, "<é>") { Score = 0.5 }])],
            },
            """
            {"version":1,"kind":"retrieval","task":"passkey","model":"m","adapter":null,"scoring":"likelihood",
             "results":[{"length":512,"accuracy":0.75,
             "trials":[{"seed":0,"depth":0.5,"tokens":500,"right":true,"answered":" 4","score":1},
              {"seed":1,"depth":0.25,"tokens":501,"right":false,"answered":"\u003C\u00E9\u003E","score":0.5}]}]}
            """
        ),
        ["ruler"] = (
            new RulerFile { Model = "m", Tasks = [new("vt", RetrievalScoring.Generate, [new(512, [new(0, 0.5, 500, true, " 4")])])] },
            """
            {"version":1,"kind":"ruler","task":"ruler","model":"m","adapter":null,
             "tasks":[{"task":"vt","scoring":"generate",
             "results":[{"length":512,"accuracy":1,
             "trials":[{"seed":0,"depth":0.5,"tokens":500,"right":true,"answered":" 4","score":1}]}]}]}
            """
        ),
        ["answers"] = (
            new AnswersFile
            {
                Model = "m",
                Loss = 0,
                Tokens = 9,
                Examples = 3,
                Exact = 1,
            },
            """
            {"version":1,"kind":"answers","model":"m","adapter":null,"loss":0,"perplexity":1,"tokens":9,"examples":3,"exact":1}
            """
        ),
        ["short"] = (
            new ShortTextFile
            {
                Model = "m",
                Extended = "e",
                Native = 512,
                Results = [new("perplexity", 128, 4, 5)],
            },
            """
            {"version":1,"kind":"short","task":"short","model":"m","extended":"e","native":512,
             "results":[{"measure":"perplexity","length":128,"before":4,
             "after":5}]}
            """
        ),
        ["streaming"] = (
            new StreamingFile
            {
                Model = "m",
                Compute = "bf16",
                Results = [new("4 sinks + 250", [new(1, 254, 0)])],
            },
            """
            {"version":1,"kind":"streaming","model":"m","adapter":null,"compute":"bf16",
             "results":[{"kept":"4 sinks \u002B 250",
             "stretches":[{"start":1,"tokens":254,"loss":0,"perplexity":1}]}]}
            """
        ),
        ["quickstart"] = (
            new QuickstartFile
            {
                Before = [new(512, 4.5, 0.9)],
                Rescaled = [new(512, 4.75, 0.5)],
                After = [new(512, 4.25, 1)],
                TestText = "a text",
                TrainingSeconds = 2,
                Seconds = 3,
            },
            """
            {"version":1,"kind":"quickstart","before":[{"length":512,"perplexity":4.5,"pass_key":0.9}],
             "rescaled":[{"length":512,"perplexity":4.75,"pass_key":0.5}],
             "after":[{"length":512,"perplexity":4.25,"pass_key":1}],
             "test_text":"a text",
             "training_seconds":2,"seconds":3}
            """
        ),
        ["reproduction"] = (
            new ReproductionFile
            {
                Name = "base",
                Made = "so",
                Measures = [new(512, 4.5, 0.9)],
                TrainingLoss = 2.5,
            },
            """
            {
              "version": 1,
              "kind": "reproduction",
              "name": "base",
              "made": "so",
              "measures": [
                {
                  "length": 512,
                  "perplexity": 4.5,
                  "pass_key": 0.9
                }
              ],
              "own_pattern_perplexity": null,
              "trained_weights": 0,
              "training_loss": 2.5,
              "training_seconds": 0,
              "processor_seconds": 0,
              "attention_flops": 0,
              "step_flops": 0
            }
            """
        ),
    };

    public static TheoryData<string> Kinds => [.. s_files.Keys];

    // Written by 0.1.0, before files had a version and a kind.
    public static TheoryData<string, string> Unversioned =>
        new()
        {
            {
                "perplexity",
                """
                    {"task":"perplexity","model":"m","adapter":"a",
                     "results":[{"context":64,"loss":0,"perplexity":1,"tokens":63,
                     "positions":[{"from":1,"to":1,"loss":0.5,"tokens":1},{"from":2,"to":3,"loss":0.25,"tokens":2}]}]}
                    """
            },
            {
                "retrieval",
                """
                    {"task":"passkey","model":"m","adapter":null,"scoring":"likelihood",
                     "results":[{"length":512,"accuracy":0.75,
                     "trials":[{"seed":0,"depth":0.5,"tokens":500,"right":true,"score":1,"answered":" 4"},
                      {"seed":1,"depth":0.25,"tokens":501,"right":false,"score":0.5,"answered":"\u003C\u00E9\u003E"}]}]}
                    """
            },
            {
                "ruler",
                """
                    {"task":"ruler","model":"m","adapter":null,
                     "tasks":[{"task":"vt","scoring":"generate",
                     "results":[{"length":512,"accuracy":1,
                     "trials":[{"seed":0,"depth":0.5,"tokens":500,"right":true,"score":1,"answered":" 4"}]}]}]}
                    """
            },
            {
                "short",
                """
                    {"task":"short","model":"m","extended":"e","native":512,
                     "results":[{"measure":"perplexity","length":128,"before":4,
                     "after":5}]}
                    """
            },
            {
                "reproduction",
                """
                    {"name":"base","made":"so",
                     "measures":[{"length":512,"perplexity":4.5,"pass_key":0.9}],
                     "own_pattern_perplexity":null,"trained_weights":0,"training_loss":2.5,
                     "training_seconds":0,"processor_seconds":0,"attention_flops":0,"step_flops":0}
                    """
            },
        };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Write_has_these_names_and_Read_gives_the_same_figures(string kind)
    {
        var (file, json) = s_files[kind];
        Assert.Equal(kind, file.Kind);
        Assert.Equal(Compact(json), Compact(Write(file)));
        Assert.EndsWith("}\n", Write(file), StringComparison.Ordinal);
        var read = EvaluationFile.Read(_folder["e.json"])!;
        Assert.IsType(file.GetType(), read);
        Assert.Equal(Compact(json), Compact(Write(read)));
    }

    [Theory]
    [MemberData(nameof(Unversioned))]
    public void Read_takes_files_from_before_there_were_versions(string kind, string json)
    {
        File.WriteAllText(_folder["old.json"], json);
        Assert.Equal(Compact(s_files[kind].Json), Compact(Write(EvaluationFile.Read(_folder["old.json"])!)));
    }

    [Fact]
    public void Read_of_a_trial_without_a_score_takes_all_or_nothing()
    {
        var json = s_files["ruler"].Json.Replace(",\"score\":1", "", StringComparison.Ordinal);
        File.WriteAllText(_folder["old.json"], json);
        Assert.Equal(1, Assert.IsType<RulerFile>(EvaluationFile.Read(_folder["old.json"])).Tasks[0].Results[0].Accuracy);
    }

    [Theory]
    [InlineData("[1, 2]")]
    [InlineData("{}")]
    [InlineData("""{"task":7}""")]
    [InlineData("""{"task":"translate","results":[]}""")]
    [InlineData("""{"version":1,"kind":"weather"}""")]
    [InlineData("""{"kind":"perplexity"}""")]
    public void Read_leaves_other_JSON_alone(string json)
    {
        File.WriteAllText(_folder["other.json"], json);
        Assert.Null(EvaluationFile.Read(_folder["other.json"]));
    }

    [Theory]
    [InlineData("{", "Cannot read")]
    [InlineData("""{"task":"perplexity"}""", "results")]
    [InlineData("""{"task":"perplexity","results":[{"context":64,"loss":1}]}""", "tokens")]
    [InlineData("""{"task":"perplexity","results":[{"context":64,"loss":"much","tokens":3}]}""", "loss")]
    [InlineData("""{"version":2,"kind":"perplexity"}""", "has version 2, but this LongLora reads only up to version 1")]
    public void Read_names_a_file_that_it_cannot_read(string json, string expected)
    {
        File.WriteAllText(_folder["bad.json"], json);
        var told = Assert.Throws<CheckpointException>(() => EvaluationFile.Read(_folder["bad.json"])).Message;
        Assert.Contains("bad.json", told, StringComparison.Ordinal);
        Assert.Contains(expected, told, StringComparison.Ordinal);
    }

    [Fact]
    public void Figures_that_are_no_numbers_are_kept()
    {
        var text = Write(new PerplexityFile { Results = [new(64, double.NaN, 63), new(128, 800, 63)] });
        Assert.Contains("\"loss\":\"NaN\"", text, StringComparison.Ordinal);
        Assert.Contains("\"perplexity\":\"Infinity\"", text, StringComparison.Ordinal); // exp(800)
        var read = Assert.IsType<PerplexityFile>(EvaluationFile.Read(_folder["e.json"]));
        Assert.Equal([double.NaN, 800], read.Results.Select(r => r.Loss));
    }

    // Names and order as they are, white space aside.
    private static string Compact(string json) => JsonNode.Parse(json)!.ToJsonString();

    private string Write(EvaluationFile file)
    {
        file.Write(_folder["e.json"]);
        return File.ReadAllText(_folder["e.json"]);
    }

    public void Dispose()
    {
        _folder.Dispose();
        GC.SuppressFinalize(this);
    }
}
