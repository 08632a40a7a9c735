using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Loading;
using LongLora.Studies;
using LongLora.Tests.Models;
using LongLora.Training;

namespace LongLora.Tests.Training;

public class StepBenchmarkTests
{
    private static readonly ModelConfig s_config = LlamaGoldenTests.TinyConfig with { RopeScaling = RopeScalingConfig.None };

    private static LoadedModel Make() => LoadedModel.Open(ModelSource.Create(s_config, 1), new LoadOptions { Device = "cpu" });

    [Fact]
    public void Run_gives_both_variants_from_the_same_weights()
    {
        var result = StepBenchmark.Run(Make, 64, new StepBenchmarkOptions { Steps = 4, GroupSize = 64 });
        // One group as long as the text is full attention: any difference would be one of weights, tokens or steps.
        Assert.Equal(result.Full!.Losses, result.Sparse.Losses);
        Assert.Equal(5, result.Sparse.Losses.Count);
        Assert.Equal(4, result.Sparse.Seconds.Count);
        Assert.True(result.Sparse.Losses[4] < result.Sparse.Losses[0], "the steps learn nothing");
        Assert.Equal(result.Full.Flops, result.Sparse.Flops);
        Assert.Equal(result.Sparse.Flops.Needed / result.Sparse.Seconds.Min(), result.Sparse.UsefulRate);
        Assert.True(result.GemmRate > 0);
    }

    [Fact]
    public void Run_group_is_a_quarter_of_the_context()
    {
        var result = StepBenchmark.Run(Make, 64, new StepBenchmarkOptions { Steps = 1, Full = false });
        Assert.Equal(16, result.GroupSize);
        Assert.Null(result.Full);
    }

    [Fact]
    public void Median_of_an_even_number_is_the_middle_of_two() =>
        Assert.Equal(
            2.5,
            new StepMeasurement(new(1, 1, 1, 0), [4, 1, 3, 2], [], 0, 0, new StepMemory(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)).MedianSeconds
        );

    [Fact]
    public void Export_holds_weights_adapters_and_tokens()
    {
        using var folder = new TemporaryFolder();
        var options = new StepBenchmarkOptions();
        StepBenchmark.Export(folder.Root, Make, [64, 32], options);
        using var file = new SafetensorsReader(folder["step.safetensors"]);
        using var model = Make();
        foreach (var weight in model.Network.Weights)
        {
            using var stored = file.Open(weight.Name);
            Near.AssertEqual(weight.Value, stored, 0, weight.Name);
        }
        Assert.Equal([8L, 64L], file.Tensors["model.layers.1.self_attn.v_proj.lora_A.weight"].Shape);
        Assert.Equal([1L, 64L], file.Tensors["input_ids.64"].Shape);
        Assert.Equal([1L, 32L], file.Tensors["input_ids.32"].Shape);
        Assert.Equal("2", file.Metadata["lora_scale"]);
        Assert.Equal(s_config, ModelConfigReader.ReadFile(folder["config.json"]) with { EosTokenIds = s_config.EosTokenIds });
    }
}
