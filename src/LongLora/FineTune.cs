using LongLora.Adapters;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora;

/// <summary>
/// The whole way from a model folder and text to a longer context. Read it from top to bottom: each line is one room of the house.
/// </summary>
public static class FineTune
{
    private static readonly TimeSpan s_longestLoading = TimeSpan.FromMinutes(10);

    /// <summary>Runs, or resumes, one fine-tuning.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Told of every optimizer step.</param>
    /// <param name="readers">Readers of further kinds of data files, such as those of LongLora.Documents; null for none.</param>
    /// <param name="planned">Told what the run will take before it begins, and before it is refused because it does not fit.</param>
    /// <param name="notices">
    /// Told at once what the owner of the run should know, such as a damaged checkpoint; null puts it into
    /// <see cref="FineTuneResult.Notes"/>.
    /// </param>
    /// <param name="cancellation">Interrupts after the current micro-batch; the run directory can then be resumed.</param>
    /// <exception cref="LongLoraException">
    /// Something about the options, the model or the data is wrong; the message says what to do.
    /// </exception>
    /// <exception cref="OperationCanceledException">The run was interrupted and saved.</exception>
    public static FineTuneResult Run(
        FineTuneOptions options,
        IProgress<TrainingStep>? progress = null,
        IReadOnlyList<IDocumentReader>? readers = null,
        IProgress<TrainingPlan>? planned = null,
        IProgress<string>? notices = null,
        CancellationToken cancellation = default
    ) => Run(options, SingleProcess.Instance, progress, readers, planned, notices, cancellation);

    /// <summary>Runs as one of several ranks. Each calls it; rank 0 alone reports, and writes files.</summary>
    internal static FineTuneResult Run(
        FineTuneOptions options,
        ICommunicator ranks,
        IProgress<TrainingStep>? progress,
        IReadOnlyList<IDocumentReader>? readers,
        IProgress<TrainingPlan>? planned,
        IProgress<string>? notices,
        CancellationToken cancellation
    )
    {
        options.Validate();
        RequireWorkForAll(options, ranks);
        options = Pin(options);
        LibTorch.EnsureLoaded();
        var device = Devices.Parse(options.Machine.Device); // refuse a device that does not exist before anything is written
        var told = new List<string>();
        Action<string> tell =
            !ranks.IsRoot() ? _ => { }
            : notices is null ? told.Add
            : notices.Report;
        using var receiving = Notices.Receive(tell);
        using var nccl = Job.OpenNccl(ranks, device);
        if (nccl is not null)
            tell($"The ranks exchange by NCCL {nccl.Version}, which has not been tried with this program yet.");
        ranks = nccl ?? ranks;
        using var loading = ranks.Phase("loading the model and the data", s_longestLoading);
        using var run = RunDirectory.Open(options, ranks, tell);

        // Files -> weights: mapped, checked, and attached to the architecture that config.json describes, positions rescaled.
        var source = ModelSource.Open(run.PrepareBase());
        options = run.SettleCompute(source.StoredType);
        var plan = TrainingPlan.Make(
            source.RequireFiles(),
            options.Model.Context,
            options.Method,
            options.Machine,
            options.Optimizer,
            ranks: ranks.Size,
            localRanks: ranks.LocalSize
        );
        if (ranks.IsRoot())
            planned?.Report(plan);
        if (options.Run.CheckMemory)
            plan.RequireFit(ranks.LocalSize);
        using var loaded = LoadedModel.Open(
            source,
            MakeLoadOptions(source, options) with
            {
                DividedAmong = options.Machine.Shard == Sharding.Model && ranks.Size > 1 ? ranks : null,
            }
        );
        var model = loaded.Network;
        if (options.Method.Tuning == TuningMethod.Full && model.IsQuantized)
            throw new ConfigurationException(
                $"tuning is full, but the matrices of '{source.Location}' are quantised and cannot be trained. Use lora-plus, or the "
                    + $"model in full precision."
            );

        // Text -> tokens -> batches [B, L]. Host memory only.
        using var data = TrainingData.Open(options, source, readers, tell, ranks, cancellation);
        var sampler = data.Sample();

        // What is trained: LoRA beside the projections, embeddings and norms themselves, all in one flat buffer.
        using var adapters = AdapterSet.Attach(model, options.Method.MakeAdapterOptions(), options.Run.Seed);
        using var parameters = new ParameterBuffer(adapters.Weights);
        ProductWeights.HoldFrozen(model);
        var shards = options.Machine.Shard == Sharding.None || ranks.Size == 1 ? null : new OptimizerShards(ranks, parameters.Count);
        using var optimizer = new AdamW(parameters, options.Optimizer.MakeAdamWOptions(), shards);

        // Batches -> loss -> gradients -> steps. Sparse attention here; everywhere else attention is full.
        var spikes = new SpikeGuard(options.Optimizer.SkipSpikes);
        if (run.Begin(data.Tokens, loaded.Files, optimizer, parameters, spikes) is { } place)
            sampler.State = place;
        var (attention, parts) = (options.Method.MakeAttention(options.Model.Context), options.Machine.SequenceParallel);
        using var textRanks = parts == 1 ? null : ranks.Split(ranks.Rank / parts, ranks.Rank % parts);
        var machine = options.Machine;
        using var pass = new CheckpointedPass(model, machine.BlocksPerSegment, machine.ActivationOffload, plan.ActivationMemory);
        using var trainer = new Trainer(
            model,
            parameters,
            optimizer,
            options.Optimizer.MakeSchedule(),
            attention,
            pass,
            new TrainerOptions(
                options.Optimizer.Steps,
                options.Optimizer.GradientAccumulation,
                options.Optimizer.LearningRate,
                options.Run.SaveEvery,
                options.Method.ShortShare
            )
        )
        {
            Ranks = new TrainingRanks(ranks, parts),
            Texts = textRanks is null ? null : new TextRanks(textRanks, attention),
            IsExact = options.AddsExactly,
            Spikes = spikes,
        };
        var log = run.Log(progress, optimizer.Steps);
        loading.Dispose();
        trainer.Run(sampler, run.SaveCheckpoint, log, cancellation);

        // Weights -> files: a PEFT adapter, or a whole model.
        run.WriteResult(result =>
        {
            if (options.Method.Tuning == TuningMethod.Full)
                HuggingFaceExporter.Write(result, model, loaded.Files);
            else
                AtomicFile.WriteDirectory(result, path => PeftFormat.Write(path, adapters, model, source.Reference), withChecksums: true);
        });
        return new FineTuneResult(run.ResultPath, model.Config, parameters.Count)
        {
            Notes =
            [
                .. told,
                .. data.Notes,
                .. TrainingData.NotesOn(sampler, data.Tokens),
                .. DescribeSkipped(optimizer),
                .. DescribeFurther(options, optimizer),
            ],
            Steps = optimizer.Steps,
            Passes = sampler.Passes,
            SkippedSteps = optimizer.Skipped,
        };
    }

    private static void RequireWorkForAll(FineTuneOptions options, ICommunicator ranks)
    {
        var parts = options.Machine.SequenceParallel;
        TextRanks.CheckSize(ranks.Size, parts);
        if (ranks.Size / parts > options.Optimizer.GradientAccumulation)
            throw new ConfigurationException(
                $"Cannot use {ranks.Size} ranks because a step has only {options.Optimizer.GradientAccumulation} micro-batches: "
                    + "gradient-accumulation counts those of the whole job, which the ranks share. Set gradient-accumulation to at least "
                    + $"{ranks.Size / parts}, or start fewer ranks."
            );
    }

    // A name of the Hub gets its commit, so that recipe and checkpoints say which weights they belong to: a branch may move on.
    private static FineTuneOptions Pin(FineTuneOptions options) =>
        options.Model.FromScratch is not null
            ? options
            : options with
            {
                Model = options.Model with { Path = ModelLocation.Find(options.Model.Path).Pinned },
            };

    private static IEnumerable<string> DescribeSkipped(AdamW optimizer)
    {
        if (optimizer.Skipped > 0)
            yield return $"{optimizer.Skipped:N0} of {optimizer.Steps:N0} steps were skipped because their gradients were far larger than "
                + "those before. Lines of metrics.jsonl with \"skipped\" say which; check the text of such steps if there are many.";
    }

    private static IEnumerable<string> DescribeFurther(FineTuneOptions options, AdamW optimizer)
    {
        if (optimizer.Steps > options.Optimizer.Steps)
            yield return $"steps is {options.Optimizer.Steps}, but the run had already done {optimizer.Steps:N0}. The result is that of "
                + $"step {optimizer.Steps:N0}: weights of earlier steps are only in checkpoints that were kept.";
    }

    /// <summary>How to open the model of a run: with positions for the new context.</summary>
    internal static LoadOptions MakeLoadOptions(ModelSource source, FineTuneOptions options)
    {
        var native = RopeScaling.GetCurrentContext(source.Config);
        var isShort = options.Model.Context < native;
        if (isShort && options.Data.Task != TrainingTask.Sft)
        {
            throw new ConfigurationException(
                $"context is {options.Model.Context}, but the model in '{options.Model.Path}' already has {native} tokens. "
                    + $"Give a context of at least {native}."
            );
        }
        if (isShort && options.Model.RopeFactor is not null)
            throw new ConfigurationException(
                $"rope-factor is {options.Model.RopeFactor}, but context is {options.Model.Context}, and the model in "
                    + $"'{options.Model.Path}' keeps its positions for {native} tokens. Remove rope-factor, or give a context of at least "
                    + $"{native}."
            );
        return new LoadOptions
        {
            Context = isShort ? null : options.Model.Context,
            RopeScaling = options.Model.RopeScaling,
            RopeFactor = options.Model.RopeFactor,
            Quantization = options.Machine.Quantization,
            Device = options.Machine.Device,
            Compute = options.Machine.Compute,
        };
    }
}
