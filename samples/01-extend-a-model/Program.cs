// Extends a small trained model from 512 to 2048 tokens, on text that every machine with the .NET SDK has: its reference documentation.
// No download, no GPU; about a minute on two cores. Run it: dotnet run -c Release --project samples/01-extend-a-model [-- OUTPUT [STEPS
// [SHARE]]]
using System.Xml.Linq;
using LongLora;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Tokenization;
using LongLora.Training;

var repository = FindUp(AppContext.BaseDirectory, "LongLora.slnx");
var model = Path.Combine(repository, "tests", "LongLora.Tests", "Goldens", "stories260K-hf");
var output = args.Length > 0 ? args[0] : Path.Combine("runs", $"first-{DateTime.Now:yyyyMMdd-HHmmss}");
var steps = args.Length > 1 ? int.Parse(args[1]) : 120;
var share = args.Length > 2 ? double.Parse(args[2]) : 1; // of the text
var (train, test) = WriteDocumentation(Path.Combine(output, "data"), share);
const int context = 2048;
var before = Measure(null, c => c);
var interpolated = Measure(null, c => RopeScaling.Extend(c, "auto", null, context));
var result = FineTune.Run(
    new FineTuneOptions
    {
        Model = new() { Path = model, Context = context },
        Data = new() { Sources = [train] },
        Optimizer = new()
        {
            Steps = steps,
            GradientAccumulation = 2,
            LearningRate = 2e-3, // a model of 260 thousand parameters; 2e-5 is right for 7 billion
            WarmupSteps = 10,
            Schedule = ScheduleKind.Cosine,
        },
        Run = new() { Output = Path.Combine(output, "run") },
    },
    new Progress()
);
var after = Measure(result.Result, c => c);

Console.WriteLine($"perplexity on documentation that was not trained on     512 tokens   {context} tokens");
Print("the model as it is", before);
Print("positions interpolated, not trained", interpolated);
Print($"LongLoRA, {steps} steps with shifted sparse attention", after);
Console.WriteLine($"adapter (PEFT): {result.Result}");

double[] Measure(string? adapter, Func<ModelConfig, ModelConfig> change)
{
    var folder = CheckpointDirectory.Open(model);
    using var loaded = ModelLoader.Load(folder.Config, folder);
    loaded.Config = change(loaded.Config);
    using var attached = adapter is null ? null : PeftFormat.Attach(adapter, loaded);
    using var tokens = TokenStore.Build(
        ExampleSources.Open([test], TokenizerLoader.LoadIfPresent(model), loaded.Config.VocabularySize),
        2,
        (long)(40_000 * share)
    );
    return
    [
        .. new[] { 512, context }.Select(length => Perplexity.Evaluate(loaded, tokens, length, PerplexityProtocol.Document).Perplexity),
    ];
}
static void Print(string name, double[] values) => Console.WriteLine($"  {name, -52} {values[0], 11:F2} {values[1], 13:F2}");

// The text of the summaries and remarks, without tags; every tenth file is for measuring.
static (string Train, string Test) WriteDocumentation(string folder, double share)
{
    var packs = Path.Combine(Path.GetDirectoryName(Environment.ProcessPath!)!, "packs");
    packs = Directory.Exists(packs)
        ? packs
        : Path.Combine(FindUp(System.Runtime.InteropServices.RuntimeEnvironment.GetRuntimeDirectory(), "packs"), "packs");
    string[] files =
    [
        .. Directory
            .GetFiles(Path.Combine(packs, "Microsoft.NETCore.App.Ref"), "System.*.xml", SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal),
    ];
    (files, folder) = (files[..(int)(files.Length * share)], Directory.CreateDirectory(folder).FullName);
    string Write(string name, IEnumerable<string> sources)
    {
        var texts = sources
            .SelectMany(f => XDocument.Load(f).Descendants("member"))
            .Select(m => string.Join(' ', m.Value.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)));
        File.WriteAllLines(Path.Combine(folder, name), texts.Where(t => t.Length > 0));
        return Path.Combine(folder, name);
    }
    return (Write("train.txt", files.Where((_, i) => i % 10 != 0)), Write("test.txt", files.Where((_, i) => i % 10 == 0)));
}

static string FindUp(string folder, string name) =>
    Path.Exists(Path.Combine(folder, name))
        ? folder
        : FindUp(
            Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(folder))
                ?? throw new FileNotFoundException($"no {name} in any folder above"),
            name
        );

internal sealed class Progress : IProgress<TrainingStep>
{
    public void Report(TrainingStep value)
    {
        if (value.Step % 10 == 1 || value.Step == value.Steps)
            Console.WriteLine($"step {value.Step, 4}/{value.Steps}  loss {value.Loss:F3}  {value.TokensPerSecond:N0} tokens/s");
    }
}
