// Fine-tunes a model on the documents of a folder (text, Markdown, PDF, Word, HTML) and gives it four times the context on the way.
// Run it: dotnet run -c Release --project samples/02-fine-tune-on-your-documents [-- FOLDER [MODEL [OUTPUT [STEPS]]]]
// Without arguments: this repository's own documentation and its small bundled model; about a minute on two cores.
using LongLora;
using LongLora.Data;
using LongLora.Documents;
using LongLora.Evaluation;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Training;

var folder = args.Length > 0 ? args[0] : FindUp(AppContext.BaseDirectory, "docs");
var model = args.Length > 1 ? args[1] : Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");
var output = args.Length > 2 ? args[2] : Path.Combine("runs", $"documents-{DateTime.Now:yyyyMMdd-HHmmss}");

// The last tenth of the documents is not trained on: what the model says about it is what it has learned, not what it remembers.
string[] known = [.. ExampleSources.Extensions, .. DocumentFormats.Isolated.SelectMany(r => r.Extensions)];
var found = Directory
    .GetFiles(folder, "*", SearchOption.AllDirectories)
    .Where(f => known.Contains(Path.GetExtension(f).ToLowerInvariant()));
string[] files = [.. found.Order(StringComparer.Ordinal)];
if (files.Length < 2)
    throw new ArgumentException($"'{folder}' has {files.Length} documents; at least two are needed, one to train on and one to measure.");
var (train, test) = (files[..^Math.Max(1, files.Length / 10)], files[^Math.Max(1, files.Length / 10)..]);
Console.WriteLine($"{train.Length} documents to train on, {test.Length} to measure");

var context = 4 * RopeScaling.GetCurrentContext(ModelSource.Open(model).Config);
var options = new FineTuneOptions
{
    // Short text keeps the positions that it has, and a quarter of the training is short.
    Model = new()
    {
        Path = model,
        Context = context,
        RopeScaling = RopeScaling.ByLength,
    },
    Method = new() { ShortShare = 0.25 },
    Data = new() { Sources = [.. train.Select(file => new DataSource(file))] },
    Optimizer = new()
    {
        Steps = args.Length > 3 ? int.Parse(args[3]) : 40,
        GradientAccumulation = 2,
        LearningRate = 1e-3, // for the small model; for one of 7 billion weights 2e-5, the default, is right
        WarmupSteps = 5,
        Schedule = ScheduleKind.Cosine,
    },
    Run = new() { Output = Path.Combine(output, "run") },
};
using (var before = LoadedModel.Open(model))
    Console.WriteLine($"perplexity on the other documents, before: {Measure(before):F1}");
var result = FineTune.Run(options, new Progress(), DocumentFormats.Isolated);

// Adapter and base as one plain folder, which chat, serve, other engines and samples/03 take.
using (var after = LoadedModel.Open(model, new LoadOptions { Adapter = result.Result }))
{
    Console.WriteLine($"perplexity on the other documents, after: {Measure(after):F1}");
    HuggingFaceExporter.Write(Path.Combine(output, "model"), after);
}
Console.WriteLine($"adapter: {result.Result}\nmodel with {context:N0} tokens of context: {Path.Combine(output, "model")}");

double Measure(LoadedModel loaded)
{
    using var tokens = TokenStore.Read(test, loaded, DocumentFormats.Isolated, maxTokens: 40_000);
    var length = (int)Math.Min(context, tokens.Count);
    return Perplexity.Evaluate(loaded.Network, tokens, length, PerplexityProtocol.Document).Perplexity;
}

static string FindUp(string folder, string name) =>
    Directory.Exists(Path.Combine(folder, name)) ? Path.Combine(folder, name) : FindUp(Path.GetDirectoryName(folder)!, name);

internal sealed class Progress : IProgress<TrainingStep>
{
    public void Report(TrainingStep value)
    {
        if (value.Step % 10 == 1 || value.Step == value.Steps)
            Console.WriteLine($"step {value.Step, 4}/{value.Steps}  loss {value.Loss:F3}  {value.TokensPerSecond:N0} tokens/s");
    }
}
