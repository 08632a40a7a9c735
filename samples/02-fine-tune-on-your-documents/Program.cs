// Fine-tunes a model on the documents of a folder (text, Markdown, PDF, Word, HTML) and gives it four times the context on the way.
// Run it: dotnet run -c Release --project samples/02-fine-tune-on-your-documents [-- FOLDER [MODEL [OUTPUT [STEPS]]]]
// Without arguments: this repository's own documentation and its small bundled model; about a minute on two cores.
using LongLora;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Data;
using LongLora.Documents;
using LongLora.Evaluation;
using LongLora.Export;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Tokenization;
using LongLora.Training;

var folder = args.Length > 0 ? args[0] : FindUp(AppContext.BaseDirectory, "docs");
var model = args.Length > 1 ? args[1] : Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");
var output = args.Length > 2 ? args[2] : Path.Combine("runs", $"documents-{DateTime.Now:yyyyMMdd-HHmmss}");
var steps = args.Length > 3 ? int.Parse(args[3]) : 40;

// The last tenth of the documents is not trained on: what the model says about it is what it has learnt, not what it remembers.
string[] known = [.. ExampleSources.Extensions, .. DocumentFormats.All.SelectMany(r => r.Extensions)];
string[] files =
[
    .. Directory
        .GetFiles(folder, "*", SearchOption.AllDirectories)
        .Where(f => known.Contains(Path.GetExtension(f).ToLowerInvariant()))
        .Order(StringComparer.Ordinal),
];
if (files.Length < 2)
    throw new ArgumentException($"'{folder}' has {files.Length} documents; at least two are needed, one to train on and one to measure.");
var kept = Math.Max(1, files.Length / 10);
var (train, test) = (files[..^kept], files[^kept..]);
Console.WriteLine($"{train.Length} documents to train on, {test.Length} to measure");

using var config = CheckpointDirectory.Open(model, headersOnly: true);
var context = 4 * RopeScaling.GetCurrentContext(config.Config);
var options = new FineTuneOptions
{
    Model = new()
    {
        Path = model,
        Context = context,
        RopeScaling = RopeScaling.ByLength, // short text keeps the positions that it has
    },
    Data = new() { Sources = [.. train.Select(file => new DataSource(file))] },
    Method = new() { ShortShare = 0.25 }, // and a quarter of the training is short
    Optimizer = new()
    {
        Steps = steps,
        GradientAccumulation = 2,
        LearningRate = 1e-3, // for the small model; for one of 7 billion weights 2e-5, the default, is right
        WarmupSteps = 5,
        Schedule = ScheduleKind.Cosine,
    },
    Run = new() { Output = Path.Combine(output, "run") },
};
var before = Measure(null);
var result = FineTune.Run(options, new Progress(), DocumentFormats.All);
Console.WriteLine($"perplexity on the other documents: {before:F1} before, {Measure(result.Result):F1} after");

// Adapter and base as one plain folder, which chat, serve, other engines and samples/03 take.
using (var merged = ModelLoader.Load(config.Config, CheckpointDirectory.Open(model)))
using (PeftFormat.Attach(result.Result, merged))
    HuggingFaceExporter.Write(Path.Combine(output, "model"), merged, config);
Console.WriteLine($"adapter: {result.Result}\nmodel with {context:N0} tokens of context: {Path.Combine(output, "model")}");

double Measure(string? adapter)
{
    var files = CheckpointDirectory.Open(model);
    using var loaded = ModelLoader.Load(files.Config, files);
    using var attached = adapter is null ? null : PeftFormat.Attach(adapter, loaded);
    using var tokens = TokenStore.Build(
        ExampleSources.Open(test, TokenizerLoader.Load(model), loaded.Config.VocabularySize, DocumentFormats.All),
        null,
        40_000
    );
    return Perplexity.Evaluate(loaded, tokens, (int)Math.Min(context, tokens.Count), PerplexityProtocol.Document).Perplexity;
}

static string FindUp(string folder, string name) =>
    Directory.Exists(Path.Combine(folder, name))
        ? Path.Combine(folder, name)
        : FindUp(Path.GetDirectoryName(folder) ?? throw new DirectoryNotFoundException($"no {name} in any folder above"), name);

internal sealed class Progress : IProgress<TrainingStep>
{
    public void Report(TrainingStep value)
    {
        if (value.Step % 10 == 1 || value.Step == value.Steps)
            Console.WriteLine($"step {value.Step, 4}/{value.Steps}  loss {value.Loss:F3}  {value.TokensPerSecond:N0} tokens/s");
    }
}
