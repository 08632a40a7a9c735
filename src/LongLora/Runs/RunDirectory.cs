using System.Globalization;
using LongLora.Adapters;
using LongLora.Data;
using LongLora.Options;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Runs;

/// <summary>
/// The files of a run: <c>recipe.yaml</c>, <c>metrics.jsonl</c>, TensorBoard events, <c>checkpoints/step-N/</c>, and at the end
/// <c>adapter/</c> or <c>model/</c>.
/// </summary>
internal sealed class RunDirectory
{
    private const string StepPrefix = "step-";

    // States of earlier versions do not have these options, so their defaults are not compared.
    private static readonly string[] s_younger = ["adapter-kind", "rslora", "pissa-iterations", "keep-reasoning", "ignore-fields"];

    private readonly FineTuneOptions _options;
    private readonly string _checkpoints;

    private string _fingerprint = "";

    private RunDirectory(FineTuneOptions options) => (_options, _checkpoints) = (options, Path.Combine(options.Run.Output, "checkpoints"));

    /// <summary>The folder with the trained adapter or model.</summary>
    public string ResultPath => Path.Combine(_options.Run.Output, _options.Method.Tuning == TuningMethod.Full ? "model" : "adapter");

    /// <summary>
    /// The folder of the model that the run starts from: the given one, or a new one to train from scratch, which is created on first use.
    /// </summary>
    public string PrepareBase()
    {
        if (_options.Model.FromScratch is not { } config)
            return _options.Model.Path;
        var path = Path.Combine(_options.Run.Output, "initial");
        if (!Directory.Exists(path))
            NewModel.Write(path, config, _options.Model.Tokenizer, _options.Model.Context, _options.Run.Seed);
        return path;
    }

    /// <summary>
    /// Creates the directory, or opens that of an earlier run. This comes first, so that no work is lost because the output cannot be
    /// written.
    /// </summary>
    /// <param name="options">The options of this run.</param>
    /// <exception cref="ConfigurationException">
    /// It cannot be written to, or holds another run and <see cref="RunOptions.Resume"/> is off.
    /// </exception>
    public static RunDirectory Open(FineTuneOptions options)
    {
        var output = options.Run.Output;
        if (!options.Run.Resume && Directory.Exists(output) && Directory.EnumerateFileSystemEntries(output).Any())
            throw new ConfigurationException(
                $"The output '{output}' is not empty. Set resume to continue the run in it, or choose another folder."
            );
        AtomicFile.Guard(output, () => Directory.CreateDirectory(output));
        return new RunDirectory(options);
    }

    /// <summary>
    /// Restores the newest complete checkpoint if the run is resumed and there is one, and writes <c>recipe.yaml</c>.
    /// </summary>
    /// <param name="tokens">The corpus.</param>
    /// <param name="optimizer">Created as for a new run; receives moments and step.</param>
    /// <param name="parameters">Created as for a new run; receive their values.</param>
    /// <returns>The position in the data, or null for a new run.</returns>
    /// <exception cref="ConfigurationException">
    /// The checkpoint belongs to a run with other options or data. Nothing was written.
    /// </exception>
    public BatchSamplerState? Begin(TokenStore tokens, AdamW optimizer, ParameterBuffer parameters)
    {
        _fingerprint = MakeFingerprint(_options, tokens);
        BatchSamplerState? place =
            _options.Run.Resume && ListCheckpoints().LastOrDefault() is { Path: { } latest }
                ? TrainingState.Restore(latest, optimizer, parameters, _fingerprint)
                : null;
        AtomicFile.WriteText(
            Path.Combine(_options.Run.Output, "recipe.yaml"),
            Recipe.Write(_options, $"{tokens.Count} tokens of data; {parameters.Count} trained weights")
        );
        return place;
    }

    /// <summary>Saves a checkpoint, atomically, and removes all but the newest ones.</summary>
    public void SaveCheckpoint(TrainingState state)
    {
        var path = Path.Combine(_checkpoints, string.Create(CultureInfo.InvariantCulture, $"{StepPrefix}{state.Step:D6}"));
        AtomicFile.WriteDirectory(path, folder => state.Save(folder, _fingerprint));
        foreach (var (_, old) in ListCheckpoints().SkipLast(_options.Run.KeepCheckpoints))
            Directory.Delete(old, recursive: true);
    }

    /// <summary>Writes every step to <c>metrics.jsonl</c> and the TensorBoard event file, and passes it on.</summary>
    /// <param name="next">Receives each step after the files are written.</param>
    /// <param name="resumedStep">Later lines of an interrupted run are removed.</param>
    public IProgress<TrainingStep> Log(IProgress<TrainingStep>? next, long resumedStep) =>
        new MetricsLog(_options.Run.Output, resumedStep, next);

    private IEnumerable<(int Step, string Path)> ListCheckpoints() =>
        !Directory.Exists(_checkpoints)
            ? []
            : Directory
                .EnumerateDirectories(_checkpoints, StepPrefix + "*")
                .Select(path => (int.TryParse(Path.GetFileName(path).AsSpan(StepPrefix.Length), out var step) ? step : -1, path))
                .Where(c => c.Item1 >= 0)
                .OrderBy(c => c.Item1);

    /// <summary>The options that a resumed run must share, one per line, in the order of the table.</summary>
    internal static IEnumerable<string> DescribeOptions(FineTuneOptions options) =>
        FineTuneOptionTable
            .All.Where(o => o.Effect != OptionEffect.None)
            .Where(o => !s_younger.Contains(o.Name) || o.Format(options) != o.Format(FineTuneOptionTable.Defaults))
            // The number of steps affects a step only through the schedule.
            .Where(o => o.Name != "steps" || options.Optimizer.Schedule != ScheduleKind.ConstantWithWarmup)
            .Select(o => $"{o.Name}: {o.Format(options)}");

    private static string MakeFingerprint(FineTuneOptions options, TokenStore tokens)
    {
        var apart =
            options.Data.KeepDocumentsApart || options.Data.Task == TrainingTask.Sft || options.Data.Sources.Any(d => d.Weight != 1);
        return string.Join(
            '\n',
            [
                .. DescribeOptions(options),
                $"data: tokens of SHA-256 {tokens.Digest}",
                .. apart
                    ? [$"documents: SHA-256 {tokens.LayoutDigest}, weights {string.Join(' ', options.Data.Sources.Select(d => d.Weight))}"]
                    : Array.Empty<string>(),
            ]
        );
    }
}
