using LongLora.Configs;
using LongLora.Models;
using TorchSharp;

namespace LongLora.Tests.Models;

/// <summary>Well-known models by name: what their configs mean has the size that was published with the weights.</summary>
public class PublishedModelTests
{
    // Totals of the published weights, as their index files, model cards or papers give them; a tied head counts once.
    private static readonly Dictionary<string, long> s_parameters = new()
    {
        ["llama-7b"] = 6_738_415_616,
        ["llama-2-7b"] = 6_738_415_616,
        ["llama-2-13b"] = 13_015_864_320,
        ["llama-2-70b"] = 68_976_648_192,
        ["llama-3-8b"] = 8_030_261_248,
        ["llama-3-70b"] = 70_553_706_496,
        ["llama-3.1-8b"] = 8_030_261_248,
        ["llama-3.1-70b"] = 70_553_706_496,
        ["llama-3.1-405b"] = 405_853_388_800,
        ["llama-3.2-1b"] = 1_235_814_400,
        ["llama-3.2-3b"] = 3_212_749_824,
        ["tinyllama-1.1b"] = 1_100_048_384,
        ["smollm2-135m"] = 134_515_008,
        ["smollm2-1.7b"] = 1_711_376_384,
        ["yi-6b"] = 6_061_035_520,
        ["yi-34b"] = 34_388_917_248,
        ["mistral-7b-v0.1"] = 7_241_732_096,
        ["mistral-7b-v0.3"] = 7_248_023_552,
        ["mistral-nemo-12b"] = 12_247_782_400,
        ["qwen2.5-0.5b"] = 494_032_768,
        ["qwen2.5-1.5b"] = 1_543_714_304,
        ["qwen2.5-7b"] = 7_615_616_512,
        ["qwen2.5-14b"] = 14_770_033_664,
        ["qwen2.5-32b"] = 32_763_876_352,
        ["qwen2.5-72b"] = 72_706_203_648,
        ["qwen3-0.6b"] = 596_049_920,
        ["qwen3-1.7b"] = 1_720_574_976,
        ["qwen3-4b"] = 4_022_468_096,
        ["qwen3-8b"] = 8_190_735_360,
        ["qwen3-14b"] = 14_768_307_200,
        ["qwen3-32b"] = 32_762_123_264,
        ["phi-3-mini-4k"] = 3_821_079_552,
        ["phi-3-medium-4k"] = 13_960_238_080,
        ["phi-3.5-mini-128k"] = 3_821_079_552,
        ["phi-4"] = 14_659_507_200,
        ["pythia-70m"] = 70_426_624,
        ["pythia-160m"] = 162_322_944,
        ["pythia-410m"] = 405_334_016,
        ["pythia-1b"] = 1_011_781_632,
        ["pythia-1.4b"] = 1_414_647_808,
        ["pythia-2.8b"] = 2_775_208_960,
        ["pythia-6.9b"] = 6_857_302_016,
        ["pythia-12b"] = 11_846_072_320,
        ["gpt-neox-20b"] = 20_554_567_680,
    };

    public static TheoryData<string> Names => [.. PublishedConfigs.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void Describe_published_model_has_its_size_without_memory(string name)
    {
        using var model = ModelLoader.Describe(PublishedConfigs.Find(name));
        Assert.Equal(s_parameters[name], model.Weights.Sum(w => w.ElementCount));
        Assert.All(model.Weights, w => Assert.Equal(DeviceType.META, w.Value.device_type));
    }

    [Theory]
    [InlineData("llama-2-70b", "model.layers.79.self_attn.k_proj.weight", 1024, 8192)]
    [InlineData("mistral-nemo-12b", "model.layers.39.self_attn.o_proj.weight", 5120, 4096)]
    [InlineData("qwen2.5-7b", "model.layers.27.self_attn.k_proj.bias", 512)]
    [InlineData("qwen3-0.6b", "model.layers.27.self_attn.q_norm.weight", 128)]
    [InlineData("qwen3-0.6b", "model.layers.0.self_attn.q_proj.weight", 2048, 1024)]
    [InlineData("phi-4", "model.layers.39.self_attn.qkv_proj.weight", 7680, 5120)]
    [InlineData("phi-3-mini-4k", "model.layers.31.mlp.gate_up_proj.weight", 16384, 3072)]
    [InlineData("pythia-6.9b", "gpt_neox.layers.31.attention.query_key_value.bias", 12288)]
    [InlineData("gpt-neox-20b", "embed_out.weight", 50432, 6144)]
    public void Describe_published_model_has_the_tensor(string name, string tensor, params int[] shape)
    {
        using var model = ModelLoader.Describe(PublishedConfigs.Find(name));
        Assert.Equal(shape.Select(s => (long)s), model.Weights.Single(w => w.Name == tensor).Shape);
    }
}
