// Extends a small trained model from 512 to 2048 tokens, on text that every machine with the .NET SDK has: its reference documentation.
// No download, no GPU; about a minute on two cores.
// Run it: dotnet run -c Release --project samples/01-extend-a-model [-- OUTPUT [STEPS [SHARE]]]
using LongLora;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Loading;
using LongLora.Options;
using LongLora.Training;

var model = Path.Combine(FindUp(AppContext.BaseDirectory, "LongLora.slnx"), "tests", "LongLora.Tests", "Goldens", "stories260K-hf");
var output = args.Length > 0 ? args[0] : Path.Combine("runs", $"first-{DateTime.Now:yyyyMMdd-HHmmss}");
var steps = args.Length > 1 ? int.Parse(args[1]) : 120;
var share = args.Length > 2 ? double.Parse(args[2]) : 1; // of the text
var (train, test) = WriteDocumentation(Path.Combine(output, "data"), share);
const int context = 2048;
var before = Measure(new LoadOptions());
var interpolated = Measure(new LoadOptions { Context = context });
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
var after = Measure(new LoadOptions { Adapter = result.Result });

Console.WriteLine($"perplexity on documentation that was not trained on     512 tokens   {context} tokens");
Print("the model as it is", before);
Print("positions interpolated, not trained", interpolated);
Print($"LongLoRA, {steps} steps with shifted sparse attention", after);
Console.WriteLine($"adapter (PEFT): {result.Result}");

double[] Measure(LoadOptions options)
{
    using var loaded = LoadedModel.Open(model, options);
    using var tokens = TokenStore.Read([test], loaded, maxTokens: (long)(40_000 * share));
    double At(int length) => Perplexity.Evaluate(loaded.Network, tokens, length, PerplexityProtocol.Document).Perplexity;
    return [At(512), At(context)];
}

static void Print(string name, double[] values) => Console.WriteLine($"  {name, -52} {values[0], 11:F2} {values[1], 13:F2}");

// What the SDK's documentation says of its types; every tenth type is for measuring.
static (string Train, string Test) WriteDocumentation(string folder, double share)
{
    var files = XmlDocumentation.FindSdkFiles();
    List<string> texts = [.. files.Take((int)(files.Count * share)).SelectMany(XmlDocumentation.Read).Select(d => d.Text)];
    string Write(string name, bool isTest)
    {
        var path = Path.Combine(Directory.CreateDirectory(folder).FullName, name);
        File.WriteAllLines(path, texts.Where((_, i) => (i % 10 == 0) == isTest));
        return path;
    }
    return (Write("train.txt", false), Write("test.txt", true));
}

static string FindUp(string folder, string name) =>
    Path.Exists(Path.Combine(folder, name)) ? folder : FindUp(Path.GetDirectoryName(folder)!, name);

internal sealed class Progress : IProgress<TrainingStep>
{
    public void Report(TrainingStep value)
    {
        if (value.Step % 10 == 1 || value.Step == value.Steps)
            Console.WriteLine($"step {value.Step, 4}/{value.Steps}  loss {value.Loss:F3}  {value.TokensPerSecond:N0} tokens/s");
    }
}
