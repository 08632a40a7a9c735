using LongLora.Data;
using LongLora.Loading;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Tokenization;
using LongLora.Training;

namespace LongLora.Studies;

/// <summary>
/// Demonstrates the method on a model that is small enough for any machine: measure, extend with S²-Attn and LoRA+, measure again. It needs
/// no network. Its text is the .NET SDK's documentation, or generated documents if the SDK has none.
/// </summary>
internal static class Quickstart
{
    /// <summary>Runs everything.</summary>
    /// <param name="options">The options.</param>
    /// <param name="stage">Receives a description of the current stage.</param>
    /// <param name="progress">Receives every training step.</param>
    /// <param name="cancellation">Cancels the work.</param>
    public static QuickstartResult Run(
        QuickstartOptions options,
        IProgress<string>? stage = null,
        IProgress<TrainingStep>? progress = null,
        CancellationToken cancellation = default
    )
    {
        if (options.Factor < 2 || options.Steps < 1 || options.Trials < 1)
            throw new ConfigurationException("factor must be at least 2; steps and trials must be at least 1.");
        LibTorch.EnsureLoaded();
        var source = ModelSource.Open(options.Model);
        var config = source.Config;
        var native = RopeScaling.GetCurrentContext(config);
        var context = native * options.Factor;
        int[] lengths = [.. Enumerable.Range(0, 32).Select(i => native << i).TakeWhile(length => length <= context)];
        var training = MakeTrainingOptions(options, context);
        if (Directory.Exists(options.Output) && Directory.EnumerateFileSystemEntries(options.Output).Any())
            throw new ConfigurationException(
                $"The output '{options.Output}' is not empty. Choose another folder with --output, or remove it."
            );

        stage?.Report("Collecting text ...");
        var tokenizer = source.RequireTokenizer();
        var (train, test, origin) = CollectTexts(tokenizer, options.Seed, XmlDocumentation.FindSdkFiles());
        stage?.Report($"Text: {origin}.");
        WriteWindows(
            training.Data.Sources[0].Path,
            tokenizer,
            train,
            context,
            training.Optimizer.Steps * training.Optimizer.BatchSize * training.Optimizer.GradientAccumulation,
            options.Seed
        );
        using var measure = new QuickstartMeasurement(options, tokenizer, new Documents(test), lengths, stage, cancellation);

        stage?.Report($"Measuring the original model (trained on {native} tokens) up to {context} tokens ...");
        var clock = System.Diagnostics.Stopwatch.StartNew();
        var before = measure.Run(new LoadOptions());
        stage?.Report(
            $"On this machine the whole quickstart takes about {Describe(measure.EstimateWhole(clock.Elapsed, config, training))}."
        );
        stage?.Report("Measuring the original weights with rescaled positions ...");
        var rescaled = measure.Run(FineTune.MakeLoadOptions(source, training), before);
        stage?.Report($"Extending it to {context} tokens with S²-Attn and LoRA+ ...");
        clock.Restart();
        var result = FineTune.Run(training, progress, cancellation: cancellation);
        var time = clock.Elapsed;
        stage?.Report("Measuring the extended model ...");
        var after = measure.Run(new LoadOptions { Adapter = result.Result });
        return new QuickstartResult(before, rescaled, after, result, time, origin);
    }

    private static string Describe(TimeSpan time) =>
        time < TimeSpan.FromSeconds(90) ? $"{Math.Ceiling(time.TotalSeconds / 10) * 10:F0} seconds"
        : time < TimeSpan.FromMinutes(10)
            ? string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Math.Ceiling(time.TotalMinutes * 2) / 2:0.#} minutes")
        : $"{Math.Ceiling(time.TotalMinutes):F0} minutes";

    /// <summary>
    /// The training options: those of the paper, except for a higher learning rate and rank, because the model is small and the run short,
    /// and YaRN instead of linear interpolation, from which such a small model does not recover within minutes, because the heads that look
    /// one token back need the fast frequencies. Positions are rescaled by 1.5 times the factor of the context, because the model was
    /// reliable only in the first two thirds of its context; so the largest distances of a long text map to distances that it handles well.
    /// Every second batch is short, because such fast training would otherwise make short texts worse.
    /// </summary>
    internal static FineTuneOptions MakeTrainingOptions(QuickstartOptions options, int context) =>
        new()
        {
            Model = new()
            {
                Path = options.Model,
                Context = context,
                RopeScaling = RopeScaling.ByLength,
                RopeFactor = 1.5 * options.Factor,
            },
            Data = new() { Sources = [Path.Combine(options.Output, "data", "train.bin")], Shuffle = false },
            Method = new()
            {
                Rank = 16,
                Alpha = 32,
                ShortShare = 0.5,
            },
            Optimizer = new()
            {
                LearningRate = 1e-3,
                WarmupSteps = 5,
                Steps = options.Steps,
                GradientAccumulation = 2,
                Schedule = ScheduleKind.Linear,
            },
            Run = new()
            {
                Output = Path.Combine(options.Output, "run"),
                SaveEvery = 0,
                Seed = options.Seed,
            },
        };

    // Every 20th document is kept for the test; only long ones, so distant context can help.
    internal static (List<IReadOnlyList<int>> Train, List<IReadOnlyList<int>> Test, string Origin) CollectTexts(
        ITokenizer tokenizer,
        int seed,
        IReadOnlyList<string> files
    )
    {
        var (texts, origin) = (new List<string>(), "the .NET SDK's documentation");
        foreach (var file in files)
            texts.AddRange(XmlDocumentation.Read(file).Select(d => d.Text).Where(t => t.Length is > 8_000 and < 200_000));
        if (texts.Count < 40)
        {
            var random = new SplitMix64((ulong)seed);
            var practice = new RetrievalPractice(random);
            texts = [.. Enumerable.Range(0, 200).Select(_ => practice.Write(PracticeKind.Facts, random.Between(4_000, 12_000)))];
            origin = "generated text, because there is no documentation of .NET here";
        }
        List<IReadOnlyList<int>> train = [],
            test = [];
        for (var i = 0; i < texts.Count; i++)
        {
            if (i % 20 == 7)
                test.Add(tokenizer.Encode(texts[i], addSpecial: true));
            else if (i % 4 == 0) // a quarter is more than will be read
                train.Add(tokenizer.Encode(texts[i]));
        }
        return (train, test, origin);
    }

    private static void WriteWindows(string path, ITokenizer tokenizer, List<IReadOnlyList<int>> texts, int context, int count, int seed)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var options = new PracticeOptions
        {
            Context = context,
            Windows = count,
            Generated = 0.25,
            Weights = [0, 2, 3, 1, 3],
            Seed = 1000 + seed,
        };
        AtomicFile.Write(path, stream =>
        {
            foreach (var window in new PracticeWindows(tokenizer, texts, options).Make())
                PracticeWindows.Write(stream, window);
        });
    }

    private sealed class Documents(IReadOnlyList<IReadOnlyList<int>> documents) : IExampleSource
    {
        public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default) =>
            documents.Select((ids, i) => new TrainingExample(ids, null, $"document {i + 1}"));
    }
}
