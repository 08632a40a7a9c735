using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Export;
using LongLora.Loading;
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
    /// <summary>Runs, or resumes, one fine-tuning.</summary>
    /// <param name="options">The options.</param>
    /// <param name="progress">Told of every optimizer step.</param>
    /// <param name="readers">Readers of further kinds of data files, such as those of LongLora.Documents; null for none.</param>
    /// <param name="cancellation">Interrupts after the current micro-batch; the run directory can then be resumed.</param>
    /// <exception cref="LongLoraException">
    /// Something about the options, the model or the data is wrong; the message says what to do.
    /// </exception>
    /// <exception cref="OperationCanceledException">The run was interrupted and saved.</exception>
    public static FineTuneResult Run(
        FineTuneOptions options,
        IProgress<TrainingStep>? progress = null,
        IReadOnlyList<IDocumentReader>? readers = null,
        CancellationToken cancellation = default
    )
    {
        options.Validate();
        LibTorch.EnsureLoaded();
        _ = Devices.Parse(options.Device); // one that is not there is told of before anything is written
        var run = RunDirectory.Open(options);

        // Files -> weights: mapped, checked, and attached to the architecture that config.json describes, positions rescaled.
        var source = ModelSource.Open(run.BasePath());
        if (options.CheckMemory && source.Files is { } folder)
            TrainingPlan.Make(options, folder).RequireFit();
        using var loaded = LoadedModel.Open(source, MakeLoadOptions(source, options));
        var model = loaded.Network;
        if (options.Tuning == TuningMethod.Full && model.IsQuantized)
            throw new ConfigurationException(
                $"tuning is full, but the matrices of '{source.Location}' are quantised and cannot be trained. Use lora-plus, or the "
                    + $"model in full precision."
            );

        // Text -> tokens -> batches [B, L]. Host memory only.
        using var data = TrainingData.Open(options, source, readers, cancellation);
        var sampler = data.Sample();

        // What is trained: LoRA beside the projections, embeddings and norms themselves, all in one flat buffer.
        using var adapters = AdapterSet.Attach(model, Tuning(options), options.Seed);
        using var parameters = new ParameterBuffer(adapters.Weights);
        using var optimizer = new AdamW(
            parameters,
            new AdamWOptions(options.Beta1, options.Beta2, options.Epsilon, options.WeightDecay, options.MaxGradNorm)
        );

        // Batches -> loss -> gradients -> steps. Sparse attention here; everywhere else attention is full.
        if (run.Begin(data.Tokens, optimizer, parameters) is { } place)
            sampler.State = place;
        using var pass = new CheckpointedBackward(model, options.BlocksPerSegment, options.ActivationOffload);
        using var trainer = new Trainer(
            model,
            parameters,
            optimizer,
            new LearningRateSchedule(options.Schedule, options.WarmupSteps, options.Steps),
            Attention(options),
            pass,
            new TrainerOptions(options.Steps, options.GradientAccumulation, options.LearningRate, options.SaveEvery, options.ShortShare)
        );
        trainer.Run(sampler, state => run.SaveCheckpoint(state), run.Log(progress, optimizer.Steps), cancellation);

        // Weights -> files: a PEFT adapter, or a whole model.
        if (options.Tuning == TuningMethod.Full)
            HuggingFaceExporter.Write(run.ResultPath, model, loaded.Files);
        else
            AtomicFile.WriteDirectory(run.ResultPath, path => PeftFormat.Write(path, adapters, model, source.Location));
        return new FineTuneResult(run.ResultPath, model.Config, parameters.Count) { Notes = data.Notes };
    }

    /// <summary>How the model of a run is opened: with positions for the new context.</summary>
    internal static LoadOptions MakeLoadOptions(ModelSource source, FineTuneOptions options)
    {
        var native = RopeScaling.CurrentContext(source.Config);
        var isShort = options.Context < native;
        if (isShort && options.Task != TrainingTask.Sft)
        {
            throw new ConfigurationException(
                $"context is {options.Context}, but the model in '{options.Model}' already has {native} tokens. "
                    + $"Give a context of at least {native}."
            );
        }
        return new LoadOptions
        {
            Context = isShort ? null : options.Context,
            RopeScaling = options.RopeScaling,
            RopeFactor = options.RopeFactor,
            Quantization = options.Quantization,
            Device = options.Device,
            CudaCompute = options.CudaCompute,
        };
    }

    internal static AdapterOptions Tuning(FineTuneOptions options) =>
        new()
        {
            Rank = options.Rank,
            Alpha = options.Alpha,
            TargetModules = options.TargetModules,
            TrainEmbeddings = options.TrainsEmbeddings,
            TrainNorms = options.TrainsNorms,
            TrainEverything = options.Tuning == TuningMethod.Full,
        };

    internal static IAttention Attention(FineTuneOptions options) =>
        options.Attention switch
        {
            AttentionKind.ShiftedSparse => new ShiftedSparseAttention(options.ResolvedGroupSize),
            AttentionKind.Grouped => new GroupedAttention(options.ResolvedGroupSize),
            AttentionKind.Dilated => new DilatedAttention(options.ResolvedGroupSize),
            AttentionKind.Full => new FullAttention(),
            _ => throw new ConfigurationException(
                $"attention is {options.Attention}; use shifted-sparse or full (grouped and dilated are ablations)."
            ),
        };
}
