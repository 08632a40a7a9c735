using System.Globalization;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Runs;

/// <summary>
/// The files of a run: <c>recipe.yaml</c>, <c>metrics.jsonl</c>, TensorBoard events, <c>checkpoints/step-N/</c>, and at the end
/// <c>adapter/</c> or <c>model/</c>. In a job of several ranks only rank 0 touches them; every rank makes every call.
/// </summary>
internal sealed class RunDirectory : IDisposable
{
    private const string StepPrefix = "step-",
        DamagedPrefix = "damaged-",
        BaseLine = "base model: ",
        FormatLine = "cuda-compute: ";

    // States of earlier versions do not have these options, so their defaults are not compared.
    private static readonly string[] s_younger =
    [
        "adapter-kind",
        "rslora",
        "pissa-iterations",
        "keep-reasoning",
        "ignore-fields",
        "skip-spikes",
        "template-options",
    ];

    private FineTuneOptions _options;
    private readonly string _checkpoints;

    private readonly Action<string> _tell;
    private readonly ICommunicator _ranks;

    // Folders that this run made, the innermost first, and the model in it.
    private readonly List<string> _made = [];
    private string? _newModel;

    private RunLock? _lock;
    private bool _hasBegun;
    private string _fingerprint = "";

    private string Machine => ComputeProfile.Describe(_options.Machine.Device, _options.Machine.Compute!.Value);

    private RunDirectory(FineTuneOptions options, ICommunicator ranks, Action<string> tell) =>
        (_options, _checkpoints, _ranks, _tell) = (options, Path.Combine(options.Run.Output, "checkpoints"), ranks, tell);

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
        _ranks.OnRoot("making a new model", () =>
        {
            if (Directory.Exists(path))
                return;
            NewModel.Write(path, config, _options.Model.Tokenizer, _options.Model.Context, _options.Run.Seed);
            _newModel = path;
        });
        return path;
    }

    /// <summary>
    /// Decides the number format where the options leave it open: that of the run in the directory, or else what suits device and model.
    /// All ranks get that of rank 0, whose processor may be another one.
    /// </summary>
    /// <param name="stored">The type in which the model's matrices are stored.</param>
    /// <returns>The options, with a format that is not auto.</returns>
    /// <exception cref="ConfigurationException">The device does not have the format that is asked for.</exception>
    public FineTuneOptions SettleCompute(ScalarType stored)
    {
        var compute = _ranks.OnRoot("choosing the number format", () =>
        {
            var (device, index) = Devices.ParseName(_options.Machine.Device);
            var begun = _options.Machine.Compute is null or ComputePrecision.Auto ? FindBegunCompute(device, index, stored) : null;
            return begun ?? _options.Machine.ResolveCompute(device, index, stored);
        });
        return _options = _options with { Machine = _options.Machine with { Compute = compute } };
    }

    // What the recipe in the directory says, if this device has that format. If it cannot be read or the device does not, a resume tells
    // that the checkpoint was computed on something else.
    private ComputePrecision? FindBegunCompute(DeviceType device, int index, ScalarType stored)
    {
        if (!_options.Run.Resume || !File.Exists(RecipePath))
            return null;
        try
        {
            return Recipe.ReadFile(RecipePath, FineTuneOptionTable.Defaults).Machine.ResolveCompute(device, index, stored);
        }
        catch (ConfigurationException)
        {
            return null;
        }
    }

    private string RecipePath => Path.Combine(_options.Run.Output, "recipe.yaml");

    /// <summary>
    /// Creates the directory, or opens that of an earlier run. This comes first, so that no work is lost because the output cannot be
    /// written.
    /// </summary>
    /// <param name="options">The options of this run.</param>
    /// <param name="ranks">The ranks of the job.</param>
    /// <param name="tell">Told what the owner of the run should know, in sentences.</param>
    /// <exception cref="ConfigurationException">
    /// It cannot be written to, another process trains in it, or it holds another run and <see cref="RunOptions.Resume"/> is off.
    /// </exception>
    public static RunDirectory Open(FineTuneOptions options, ICommunicator ranks, Action<string> tell)
    {
        var run = new RunDirectory(options, ranks, tell);
        ranks.OnRoot("opening the run directory", run.Take);
        return run;
    }

    private void Take()
    {
        var output = _options.Run.Output;
        RunLock.RequireFree(output);
        if (!_options.Run.Resume && Directory.Exists(output) && !HoldsNothing(output))
            throw new ConfigurationException(
                $"The output '{output}' is not empty. Set resume to continue the run in it, or choose another folder."
            );
        for (
            var folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(output));
            folder is not null && !Directory.Exists(folder);
            folder = Path.GetDirectoryName(folder)
        )
            _made.Add(folder);
        AtomicFile.Guard(output, () => AtomicFile.MakeFolder(output));
        _lock = RunLock.Take(output, _tell);
    }

    /// <summary>
    /// Restores the newest whole checkpoint if the run is resumed and there is one, and writes <c>recipe.yaml</c>. Damaged checkpoints are
    /// set aside.
    /// </summary>
    /// <param name="tokens">The corpus.</param>
    /// <param name="model">The model that the run starts from.</param>
    /// <param name="optimizer">Created as for a new run; receives moments and step.</param>
    /// <param name="parameters">Created as for a new run; receive their values.</param>
    /// <param name="spikes">Created as for a new run; receives the norms of the last steps.</param>
    /// <returns>The position in the data, or null for a new run.</returns>
    /// <exception cref="ConfigurationException">
    /// The checkpoint belongs to a run with other options, data or weights. Nothing was written.
    /// </exception>
    /// <exception cref="CheckpointException">There are checkpoints, and each of them is damaged.</exception>
    public BatchSamplerState? Begin(
        TokenStore tokens,
        IModelFiles model,
        AdamW optimizer,
        ParameterBuffer parameters,
        SpikeGuard? spikes = null
    )
    {
        _fingerprint = MakeFingerprint(_options, tokens, model);
        RequireSameOnAllRanks();
        var place = optimizer.OnRoot(_ranks, "restoring", () =>
        {
            var found = _options.Run.Resume ? Restore(optimizer, parameters, spikes) : null;
            _hasBegun = true;
            AtomicFile.WriteText(
                RecipePath,
                Recipe.Write(_options, $"{tokens.Count} tokens of data; {parameters.Count} trained weights; {Machine}")
            );
            return found;
        });
        TrainingState.Share(_ranks, optimizer, parameters, spikes);
        RankFile.Write(_options.Run.Output, _ranks, _options.Machine.Device);
        return place;
    }

    // The ranks of a machine can have another version of the program, the data or the model.
    private void RequireSameOnAllRanks()
    {
        var mine = $"version: {Recipe.Version}\n{_fingerprint}";
        var ofRoot = _ranks.BroadcastText(mine);
        if (ofRoot != mine)
            throw new ConfigurationException(
                "This rank would train something else than rank 0. These differ: "
                    + $"{string.Join("; ", mine.Split('\n').Except(ofRoot.Split('\n')))}. Give all machines the same program, model and "
                    + "data."
            );
    }

    /// <summary>Saves a checkpoint, atomically, and removes all but the newest ones.</summary>
    public void SaveCheckpoint(TrainingState state) => state.Optimizer.OnRoot(_ranks, "saving", () =>
        {
            var path = Path.Combine(_checkpoints, string.Create(CultureInfo.InvariantCulture, $"{StepPrefix}{state.Step:D6}"));
            AtomicFile.WriteDirectory(path, folder => state.Save(folder, _fingerprint, Recipe.Version, Machine));
            RemoveOld();
            return state.Step;
        });

    // Also when a run is resumed: it may have been killed between saving and removing.
    private void RemoveOld()
    {
        foreach (var (_, old) in ListCheckpoints().SkipLast(_options.Run.KeepCheckpoints))
            Remove(old);
    }

    // What cannot be removed costs space and harms nothing.
    private void Remove(string checkpoint)
    {
        try
        {
            Directory.Delete(checkpoint, recursive: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _tell($"Cannot delete the old checkpoint '{checkpoint}': {e.Message} Training goes on. Delete it yourself.");
        }
    }

    private BatchSamplerState? Restore(AdamW optimizer, ParameterBuffer parameters, SpikeGuard? spikes)
    {
        var damaged = new List<(string Path, string Why)>();
        foreach (var (step, path) in ListCheckpoints().Reverse())
        {
            if (TryOpen(step, path, damaged) is not { } opened)
                continue;
            using var saved = opened;
            saved.Restore(optimizer, parameters, AdaptFingerprint(_fingerprint, saved.Fingerprint), spikes);
            foreach (var (bad, why) in damaged)
                _tell($"The checkpoint {SetAside(bad)} is damaged and is not used. {why}");
            if (damaged.Count > 0)
                _tell($"The run continues from step {step}, the newest checkpoint that is whole.");
            TellOrigin(saved, path);
            RemoveOld();
            return saved.Place;
        }
        return damaged.Count == 0
            ? null
            : throw new CheckpointException(
                $"Cannot resume because no checkpoint in '{_checkpoints}' is whole ({damaged.Count} damaged). {damaged[0].Why} Put back a "
                    + "copy, or start again with another output."
            );
    }

    private static SavedTrainingState? TryOpen(int step, string path, List<(string Path, string Why)> damaged)
    {
        try
        {
            var saved = SavedTrainingState.Open(path);
            if (saved.Step == step)
                return saved;
            damaged.Add((path, $"Its folder is named for step {step}, but it says that it is of step {saved.Step}."));
            saved.Dispose();
        }
        catch (CheckpointException e)
        {
            damaged.Add((path, e.Message));
        }
        return null;
    }

    // A damaged checkpoint must not count among those that are kept: it would push out a whole one.
    private string SetAside(string checkpoint)
    {
        var aside = Path.Combine(_checkpoints, DamagedPrefix + Path.GetFileName(checkpoint));
        try
        {
            if (Directory.Exists(aside))
                Directory.Delete(aside, recursive: true);
            Directory.Move(checkpoint, aside);
            return $"'{checkpoint}' (now '{Path.GetFileName(aside)}')";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"'{checkpoint}' (which cannot be renamed: {e.Message})";
        }
    }

    private void TellOrigin(SavedTrainingState saved, string path)
    {
        if (!saved.HasChecksums)
            _tell($"The checkpoint '{path}' was saved by an earlier version without checksums, so damage cannot be ruled out.");
        if (!IsOfBase(saved.Fingerprint))
            _tell($"The checkpoint '{path}' does not say which weights it was trained on. Make sure that the model is the same.");
        if (saved.Version is { } version && version != Recipe.Version)
            _tell($"The checkpoint '{path}' was saved by version {version}; this is {Recipe.Version}. The last digits may differ.");
        if (saved.Machine is { } machine && machine != Machine)
            _tell(
                $"The checkpoint '{path}' was computed on {machine}; this is {Machine}. The result will not have the same bytes as without "
                    + "the interruption, since numbers are rounded in another way."
            );
    }

    // Earlier versions did not write down which model a run started from, and did write down the number format of GPUs, which like the
    // device is a matter of rounding.
    internal static string AdaptFingerprint(string own, string saved)
    {
        var lines = own.Split('\n').Where(line => IsOfBase(saved) || !line.StartsWith(BaseLine, StringComparison.Ordinal)).ToList();
        var format = saved.Split('\n').FirstOrDefault(line => line.StartsWith(FormatLine, StringComparison.Ordinal));
        if (format is not null)
            lines.Insert(lines.FindIndex(line => line.StartsWith("quantization: ", StringComparison.Ordinal)), format);
        return string.Join('\n', lines);
    }

    private static bool IsOfBase(string fingerprint) =>
        fingerprint.Split('\n').Any(line => line.StartsWith(BaseLine, StringComparison.Ordinal));

    // But for the lock of a run that was killed before it wrote anything.
    private static bool HoldsNothing(string folder) =>
        Directory
            .EnumerateFileSystemEntries(folder)
            .All(entry => Path.GetFileName(entry).StartsWith(RunLock.FileName, StringComparison.Ordinal));

    /// <summary>Writes every step to <c>metrics.jsonl</c> and the TensorBoard event file, and passes it on.</summary>
    /// <param name="next">Receives each step after the files are written.</param>
    /// <param name="resumedStep">Later lines of an interrupted run are removed.</param>
    /// <returns>Null on other ranks than 0: they have nobody to tell.</returns>
    public IProgress<TrainingStep>? Log(IProgress<TrainingStep>? next, long resumedStep)
    {
        MetricsLog? log = null;
        _ranks.OnRoot("opening the log", () =>
        {
            log = new MetricsLog(_options.Run.Output, resumedStep, next, _tell);
        });
        return log;
    }

    /// <summary>Writes the result.</summary>
    /// <param name="write">Writes to <see cref="ResultPath"/>; the trained weights are the same on all ranks.</param>
    public void WriteResult(Action<string> write) => _ranks.OnRoot("writing the result", () => write(ResultPath));

    /// <summary>Gives the directory free for other processes. One that this run made is removed if the run was refused.</summary>
    public void Dispose()
    {
        _lock?.Dispose();
        if (!_hasBegun)
            RemoveMade();
    }

    private void RemoveMade()
    {
        try
        {
            if (_newModel is not null)
                Directory.Delete(_newModel, recursive: true);
            foreach (var folder in _made.TakeWhile(f => !Directory.EnumerateFileSystemEntries(f).Any()))
                Directory.Delete(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It stays, empty. The next run can have it.
        }
    }

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
            // What is meant counts, and earlier versions did not write it down.
            .Where(o => o.Name != "reduction" || options.AddsExactly != (options.Method.Tuning != TuningMethod.Full))
            .Select(o => $"{o.Name}: {o.Format(options)}");

    // In earlier versions auto was linear for models without a kind of their own: such a run cannot go on with other positions.
    private static IEnumerable<string> DescribePositions(ModelOptions options, ModelConfig config)
    {
        if (options.RopeScaling == "auto" && config.RopeScaling.Kind == "default")
        {
            var extended = RopeScaling.Extend(config, options.RopeScaling, options.RopeFactor, options.Context);
            if (extended.RopeScaling.Kind == "yarn")
                yield return "positions: yarn";
        }
    }

    private static string MakeFingerprint(FineTuneOptions options, TokenStore tokens, IModelFiles model)
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
                .. DescribePositions(options.Model, model.Config),
                // Read once per run, at the speed of the disk; training reads all of it anyway.
                $"{BaseLine}config and weights of XxHash128 {Checksums.Compute(model.ContentFiles)}",
            ]
        );
    }
}
