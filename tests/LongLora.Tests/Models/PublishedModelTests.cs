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
        ["smollm3-3b"] = 3_075_098_624,
        ["ministral-3-3b"] = 3_429_006_336,
        ["gemma-3-270m"] = 268_098_176,
        ["gemma-3-1b"] = 999_885_952,
        ["gemma-3-4b"] = 3_880_263_168,
        ["gemma-3-12b"] = 11_766_034_176,
        ["gemma-3-27b"] = 27_009_346_304,
        ["gemma-2-2b"] = 2_614_341_888,
        ["gemma-2-9b"] = 9_241_705_984,
        ["gemma-2-27b"] = 27_227_128_320,
        ["qwen3-30b-a3b"] = 30_532_122_624,
        ["qwen3-235b-a22b"] = 235_093_634_560,
        ["mixtral-8x7b"] = 46_702_792_704,
        ["mixtral-8x22b"] = 140_620_634_112,
        ["gpt-oss-20b"] = 20_914_757_184,
        ["gpt-oss-120b"] = 116_829_156_672,
        ["olmo-2-1b"] = 1_484_916_736,
        ["olmo-2-7b"] = 7_298_617_344,
        ["olmo-2-13b"] = 13_716_198_400,
        ["olmo-2-32b"] = 32_234_279_936,
        ["olmo-3-7b"] = 7_298_011_136,
        ["olmo-3-32b"] = 32_233_522_176,
        ["granite-3.3-2b"] = 2_533_539_840,
        ["granite-3.3-8b"] = 8_170_864_640,
        ["glm-4-9b"] = 9_399_951_360,
        ["glm-4-9b-0414"] = 9_400_279_040,
        ["exaone-4.0-1.2b"] = 1_279_391_488,
        ["exaone-4.0-32b"] = 32_003_216_384,
        ["seed-oss-36b"] = 36_151_104_512,
        ["ernie-4.5-0.3b"] = 360_748_032,
        ["apertus-8b"] = 8_053_338_176,
        ["command-r7b"] = 8_028_033_024,
    };

    // Of the multimodal Gemma 3 the whole is published: the text with a vision tower of 416,866,032 and a projector from 1,152 numbers.
    [Theory]
    [InlineData("gemma-3-4b", 4_300_079_472)]
    [InlineData("gemma-3-12b", 12_187_325_040)]
    [InlineData("gemma-3-27b", 27_432_406_640)]
    public void Describe_text_part_has_what_the_vision_tower_leaves_of_the_published_size(string name, long whole)
    {
        var config = PublishedConfigs.Find(name);
        Assert.Equal(whole - 416_866_032 - 1152L * (config.HiddenSize + 1), s_parameters[name]);
    }

    public static TheoryData<string> Names => [.. PublishedConfigs.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void Describe_published_model_has_its_size_without_memory(string name)
    {
        using var model = ModelLoader.Describe(PublishedConfigs.Find(name));
        Assert.Equal(s_parameters[name], model.Weights.Where(w => !w.IsConstant).Sum(w => w.ElementCount));
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
    [InlineData("qwen3-30b-a3b", "model.layers.47.mlp.experts.127.down_proj.weight", 2048, 768)]
    [InlineData("gpt-oss-120b", "model.layers.35.mlp.experts.gate_up_proj", 128, 2880, 5760)]
    [InlineData("gpt-oss-20b", "model.layers.0.self_attn.sinks", 64)]
    [InlineData("olmo-3-32b", "model.layers.63.self_attn.k_norm.weight", 1024)]
    [InlineData("gemma-3-27b", "model.layers.61.self_attn.q_proj.weight", 4096, 5376)]
    [InlineData("glm-4-9b-0414", "model.layers.39.mlp.gate_up_proj.weight", 27392, 4096)]
    public void Describe_published_model_has_the_tensor(string name, string tensor, params int[] shape)
    {
        using var model = ModelLoader.Describe(PublishedConfigs.Find(name));
        Assert.Equal(shape.Select(s => (long)s), model.Weights.Single(w => w.Name == tensor).Shape);
    }
}
