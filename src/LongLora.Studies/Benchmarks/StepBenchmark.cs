using System.Diagnostics;
using System.Globalization;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Layers;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Studies;

/// <summary>
/// Times one whole training step (batch 1, random tokens) with S²-Attn and with full attention, and compares the time with the operations
/// that the step needs.
/// </summary>
internal static class StepBenchmark
{
    // Long enough to touch every weight and compile every method.
    private const int PrimingLength = 128;

    /// <summary>The shape of stories15M, a small Llama: D 288, 6 layers, 6 heads, F 768, V 32000, tied embeddings.</summary>
    /// <param name="context">L; the model is made for it, so positions are not rescaled.</param>
    public static ModelConfig CreateSmallLlama(int context) =>
        new()
        {
            ModelType = "llama",
            HiddenSize = 288,
            IntermediateSize = 768,
            LayerCount = 6,
            HeadCount = 6,
            KeyValueHeadCount = 6,
            HeadSize = 48,
            VocabularySize = 32000,
            MaxPositions = context,
            NormEpsilon = 1e-5,
            TiedEmbeddings = true,
            BosTokenId = 1,
            EosTokenIds = [2],
        };

    /// <summary>Measures one context.</summary>
    /// <param name="makeModel">Creates the model again for each variant, with the same weights.</param>
    /// <param name="context">L.</param>
    /// <param name="options">What is measured.</param>
    /// <param name="cancellation">Checked before each step.</param>
    /// <exception cref="ConfigurationException">The context is too short for groups, or the number of steps is negative.</exception>
    public static StepBenchmarkResult Run(
        Func<LoadedModel> makeModel,
        int context,
        StepBenchmarkOptions options,
        CancellationToken cancellation = default
    )
    {
        if (context < 8 || options.Steps < 0)
            throw new ConfigurationException(
                $"A benchmark needs a context of at least 8 tokens and at least 0 steps, but got {context} and {options.Steps}."
            );
        var group = options.ResolveGroupSize(context);
        var before = MeasureProducts(makeModel, context, options);
        var sparse = Measure(makeModel, new ShiftedSparseAttention(group), context, options, cancellation);
        var full = options.Full ? Measure(makeModel, new FullAttention(), context, options, cancellation) : null;
        // The best of two, because the steps are the fastest of several.
        var products = Math.Max(before, MeasureProducts(makeModel, context, options));
        return new(context, group, sparse, full, products);
    }

    /// <summary>
    /// Writes what another implementation needs to run the same step: <c>step.safetensors</c> with the weights under their state-dict
    /// names, LoRA matrices as <c>....lora_A.weight</c>, and <c>input_ids.L</c> for each context; and the model's <c>config.json</c>.
    /// </summary>
    public static void Export(string folder, Func<LoadedModel> makeModel, IReadOnlyList<int> contexts, StepBenchmarkOptions options)
    {
        Directory.CreateDirectory(folder);
        using var scope = NewDisposeScope();
        using var loaded = makeModel();
        var model = loaded.Network;
        using var adapters = AdapterSet.Attach(model, options.Tuning, options.Seed);
        var weights = model.Weights.Concat(adapters.Weights).DistinctBy(w => w.Name).Select(w => TensorToWrite.Of(w.Name, w.Value));
        var ids = contexts
            .Distinct()
            .Select(context =>
                TensorToWrite.Of($"input_ids.{context}", tensor(DrawIds(model.Config, context, options).InputIds, [1, context]))
            );
        SafetensorsWriter.Write(
            Path.Combine(folder, "step.safetensors"),
            [.. weights, .. ids],
            new Dictionary<string, string>
            {
                ["lora_scale"] = (options.Tuning.Alpha / options.Tuning.Rank).ToString("R", CultureInfo.InvariantCulture),
                ["learning_rate"] = options.LearningRate.ToString("R", CultureInfo.InvariantCulture),
            }
        );
        AtomicFile.WriteText(Path.Combine(folder, "config.json"), ModelConfigWriter.Create(model.Config));
    }

    private static double MeasureProducts(Func<LoadedModel> makeModel, int context, StepBenchmarkOptions options)
    {
        using var loaded = makeModel();
        var model = loaded.Network;
        using var adapters = AdapterSet.Attach(model, options.Tuning, options.Seed);
        using var parameters = new ParameterBuffer(adapters.Weights);
        return GemmRate.Measure(model, context);
    }

    private static StepMeasurement Measure(
        Func<LoadedModel> makeModel,
        IAttention attention,
        int context,
        StepBenchmarkOptions options,
        CancellationToken cancellation
    )
    {
        using var loaded = makeModel();
        var model = loaded.Network;
        using var adapters = AdapterSet.Attach(model, options.Tuning, options.Seed);
        using var parameters = new ParameterBuffer(adapters.Weights);
        ProductWeights.HoldFrozen(model);
        using var optimizer = new AdamW(parameters, new AdamWOptions());
        var memory = DescribeStep(model, attention, context, options);
        using var pass = new CheckpointedPass(model, options.BlocksPerSegment, options.Offload, memory.ActivationMemory);
        using var trainer = new Trainer(
            model,
            parameters,
            optimizer,
            new LearningRateSchedule(ScheduleKind.ConstantWithWarmup, 0, options.Steps + 1),
            attention,
            pass,
            new TrainerOptions(options.Steps + 1, 1, options.LearningRate, 0)
        );
        Prime(model, parameters, pass, attention, Math.Min(context, PrimingLength));
        var batch = DrawIds(model.Config, context, options);

        double Step()
        {
            var loss = trainer.Step([batch], options.LearningRate, cancellation)?.Loss
                ?? throw new OperationCanceledException(cancellation);
            if (model.Device.type == DeviceType.CUDA)
                cuda.synchronize(model.Device);
            return loss;
        }

        trainer.Prepare();
        MemoryMeter.ReturnFreeMemory();
        var resident = MemoryMeter.GetCurrentBytes(model.Device);
        MemoryMeter.ResetPeak();
        var first = Stopwatch.StartNew();
        var losses = new List<double> { Step() };
        var peak = MemoryMeter.GetPeakBytes(model.Device);
        List<double> seconds = options.Steps == 0 ? [first.Elapsed.TotalSeconds] : [];
        for (var i = 0; i < options.Steps; i++)
        {
            var watch = Stopwatch.StartNew();
            losses.Add(Step());
            seconds.Add(watch.Elapsed.TotalSeconds);
        }
        var flops = StepFlops.Count(
            model.Config,
            attention,
            options.Tuning,
            context,
            1,
            options.BlocksPerSegment,
            memory.Cuda,
            StepMemory.PlanKept(model, attention, context, memory)
        );
        return new(flops, seconds, losses, resident, peak, StepMemory.Count(model.Config, attention, context, memory));
    }

    private static StepMemoryOptions DescribeStep(
        CausalLanguageModel model,
        IAttention attention,
        int context,
        StepBenchmarkOptions options
    )
    {
        var matrix = model.Blocks[0].Mlp.Outputs[0].Projection;
        var memory = new StepMemoryOptions
        {
            Tuning = options.Tuning,
            BlocksPerSegment = options.BlocksPerSegment,
            Offload = options.Offload,
            Quantization = matrix is QuantizedProjection { Kind: var kind } ? kind : QuantizationKind.None,
            StoredType = matrix is DenseProjection { Weight.Value.dtype: var type } ? type : ScalarType.Float32,
            Cuda = model.Device.type == DeviceType.CUDA,
            ComputeType = model.ComputeType,
        };
        var (place, index) = (model.Device.type, model.Device.index);
        long ChooseBudget() =>
            ActivationPlan.ChooseBudget(
                FreeMemory.Count(place, index),
                MemoryMeter.GetAvailableBytes(place, index),
                StepMemory.Count(model.Config, attention, context, memory).Peak
            );
        return memory with { ActivationMemory = options.ActivationMemory ?? ChooseBudget() };
    }

    // Loads mapped weights, code pages and compiled methods before memory is measured. Weights and optimizer state do not change.
    private static void Prime(
        CausalLanguageModel model,
        ParameterBuffer parameters,
        CheckpointedPass pass,
        IAttention attention,
        int length
    )
    {
        using var scope = NewDisposeScope();
        using var positions = RotaryEmbedding.Create(model.Config, length, model.Device);
        var ids = zeros([1, length], ScalarType.Int64, model.Device);
        pass.ForwardBackward(ids, ids.flatten(), new ForwardContext(attention, positions), 1.0 / length);
        _ = parameters.ComputeGradientNorm();
        parameters.ClearGradients();
    }

    private static Batch DrawIds(ModelConfig config, int context, StepBenchmarkOptions options)
    {
        using var generator = new Generator((ulong)(options.Seed + context), CPU);
        using var ids = randint(0, config.VocabularySize, [1, context], ScalarType.Int64, generator: generator);
        return new([.. ids.data<long>()], null, 1, context);
    }
}
