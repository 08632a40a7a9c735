using System.Text.Json;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Data;
using LongLora.Evaluation;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Training;

/// <summary>A whole run on a real checkpoint, step by step, against an independent implementation (goldens/finetune_stories260K).</summary>
public class FineTuneGoldenTests
{
    internal static CausalLanguageModel LoadStories() => LoadStories(c => c);

    internal static CausalLanguageModel LoadStories(Func<ModelConfig, ModelConfig> change)
    {
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("stories260K-hf"));
        return ModelLoader.Load(change(folder.Config), folder);
    }

    [Theory]
    [InlineData("s2_flash")]
    [InlineData("full")]
    public void Run_of_60_steps_equals_golden(string kind)
    {
        using var scope = NewDisposeScope();
        using var log = JsonDocument.Parse(File.ReadAllText(SharedMaterial.Golden("finetune_stories260K", "log.json")));
        var golden = log.RootElement.GetProperty(kind);
        double[] Numbers(string name) => [.. golden.GetProperty(name).EnumerateArray().Select(x => x.GetDouble())];
        using var init = GoldenTensors.Read(SharedMaterial.Golden("finetune_stories260K", "adapter_init.safetensors"));
        using var final = GoldenTensors.Read(SharedMaterial.Golden("finetune_stories260K", $"final_{kind}.safetensors"));
        using var batches = GoldenTensors.Read(SharedMaterial.Golden("finetune_stories260K", "batches.safetensors"));

        using var model = LoadStretched();
        using var tokens = Book();
        Assert.Equal(golden.GetProperty("eval_full_nll_before").GetDouble(), s_lossBefore.Value, 1e-4);
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 0);
        foreach (var weight in set.Weights.Where(w => w.Name.Contains("lora_", StringComparison.Ordinal)))
            weight.Replace(init["base_model.model." + weight.Name].clone());
        using var parameters = new ParameterBuffer(set.Weights);
        Assert.Equal(golden.GetProperty("trainable").GetInt64(), parameters.Count);
        using var optimizer = new AdamW(parameters, new AdamWOptions(Beta2: 0.999));
        var schedule = new LearningRateSchedule(ScheduleKind.ConstantWithWarmup, 5, 60);
        IAttention attention = kind == "full" ? new FullAttention() : new ShiftedSparseAttention(256);
        using var pass = new CheckpointedPass(model);
        using var trainer = new Trainer(model, parameters, optimizer, schedule, attention, pass, new TrainerOptions(60, 1, 2e-3, 0));

        double[] losses = Numbers("losses"),
            norms = Numbers("grad_norms");
        for (var step = 0; step < 60; step++)
        {
            long[] ids = [.. batches["input_ids"][step].to(ScalarType.Int64).data<long>()];
            var result = trainer.Step([new Batch(ids, null, 1, 1024)], 2e-3 * schedule.GetFactor(step))!.Value;
            Assert.Equal(losses[step], result.Loss, 1e-4);
            Assert.Equal(norms[step], result.GradientNorm, 1e-3 * norms[step]);
        }
        foreach (var weight in set.Weights)
        {
            var name = weight.Name.Contains("lora_", StringComparison.Ordinal) ? "base_model.model." + weight.Name : weight.Name;
            Near.AssertEqual(final[name], weight.Value, 2e-3, name);
        }
        Assert.Equal(golden.GetProperty("eval_full_nll_after").GetDouble(), BookLoss(model, tokens), 5e-4);
    }

    // The same for every kind of training.
    private static readonly Lazy<double> s_lossBefore = new(() =>
    {
        using var scope = NewDisposeScope();
        using var model = LoadStretched();
        using var tokens = Book();
        return BookLoss(model, tokens);
    });

    private static CausalLanguageModel LoadStretched() => LoadStories(c => RopeScaling.Extend(c, "linear", null, 1024));

    internal static TokenStore Book() => Store("book");

    internal static TokenStore Store(string name)
    {
        using var file = GoldenTensors.Read(SharedMaterial.Golden("ppl_tokens.safetensors"));
        return TokenStore.Build(new MemorySource([.. file[name].data<int>()]), null);
    }

    private static double BookLoss(CausalLanguageModel model, TokenStore tokens) =>
        Perplexity.Evaluate(model, tokens, 1024, PerplexityProtocol.LongLora).Loss;

    internal sealed class MemorySource(params int[][] documents) : IExampleSource
    {
        public IEnumerable<TrainingExample> Read(CancellationToken cancellation = default) =>
            documents.Select((d, i) => new TrainingExample(d, null, $"document {i}"));
    }
}
