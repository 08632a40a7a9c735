// Trains on data that comes from anywhere: a class that gives examples one after the other, here from a table, is all that is needed.
// It also shows the parts that FineTune.Run puts together. The small bundled model learns where things lie; about ten seconds.
// Run it: dotnet run -c Release --project samples/05-your-own-data [-- OUTPUT [STEPS]]
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Generation;
using LongLora.Loading;
using LongLora.Tokenization;
using LongLora.Training;

var output = args.Length > 0 ? args[0] : Path.Combine("runs", $"own-data-{DateTime.Now:yyyyMMdd-HHmmss}");
var steps = args.Length > 1 ? int.Parse(args[1]) : 60;
const string Rows =
    "hammer cellar, ladder garage, kettle kitchen, blanket bedroom, lantern attic, bicycle garage, rake garden, piano hall, bucket cellar, "
    + "mirror hall, towel bathroom, spade garden";
(string Thing, string Place)[] table = [.. Rows.Split(", ").Select(row => row.Split(' ')).Select(row => (row[0], row[1]))];

var path = Path.Combine(AppContext.BaseDirectory, "models", "longlora-tiny");
using var loaded = LoadedModel.Open(path);
var (model, tokenizer) = (loaded.Network, loaded.Tokenizer!);
var source = new TableSource(table, tokenizer);
Show("before");

// What is trained: LoRA beside the projections, and embeddings and norms themselves. Each example is a text of its own.
using var adapters = AdapterSet.Attach(model, new AdapterOptions(), seed: 1);
using var parameters = new ParameterBuffer(adapters.Weights);
using var optimizer = new AdamW(parameters, new AdamWOptions());
using var tokens = TokenStore.Build(source, separator: null);
using var pass = new CheckpointedPass(model);
using var trainer = new Trainer(
    model,
    parameters,
    optimizer,
    new LearningRateSchedule(ScheduleKind.Cosine, 5, steps),
    new FullAttention(),
    pass,
    new TrainerOptions(steps, GradientAccumulation: 1, LearningRate: 2e-3, SaveEvery: 0)
);
trainer.Run(new BatchSampler(tokens, context: 128, batchSize: 1, seed: 1, layout: BatchLayout.Examples), save: _ => { });
PeftFormat.Write(Path.Combine(output, "adapter"), adapters, model, path);
Show("after");
Console.WriteLine($"adapter: {Path.Combine(output, "adapter")}");

void Show(string when)
{
    using var asking = new TextGenerator(model, tokenizer); // a new one: what was read before the training is of no use after it
    Console.WriteLine($"{when}: loss on the answers {AnswerLoss.Evaluate(model, source.Read()).Loss:F3}");
    foreach (var (thing, place) in table[..3])
    {
        var answer = asking.Generate(TableSource.Question(thing), new GenerationOptions { MaxTokens = 8, Stop = ["."] });
        Console.WriteLine($"  {TableSource.Question(thing)}{answer.Text}   (in the table: {place})");
    }
}

/// <summary>Rows of a table as examples: the question is read, the answer is learnt.</summary>
internal sealed class TableSource(IEnumerable<(string Thing, string Place)> rows, ITokenizer tokenizer) : IExampleSource
{
    public static string Question(string thing) => $"Where is the {thing}? It is in the";

    public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default)
    {
        foreach (var (thing, place) in rows) // a database, a queue, a web service: only what is asked for is read
        {
            cancellation.ThrowIfCancellationRequested();
            IReadOnlyList<int> question = tokenizer.Encode(Question(thing), addSpecial: true),
                answer = tokenizer.Encode($" {place}.");
            yield return new TrainingExample(
                [.. question, .. answer],
                [.. question.Select(_ => TrainingExample.IgnoredLabel), .. answer],
                $"row '{thing}'"
            );
        }
    }
}
