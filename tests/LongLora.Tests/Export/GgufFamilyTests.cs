using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tests.Checkpoints;
using static TorchSharp.torch;

namespace LongLora.Tests.Export;

/// <summary>Every family out to GGUF and in again: the same model. llama.cpp itself reads the same files in its own test program.</summary>
public sealed class GgufFamilyTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static Tensor Logits(CausalLanguageModel model, int length)
    {
        using var generator = new Generator(5, CPU);
        var ids = randint(0, model.Config.VocabularySize, [2, length], ScalarType.Int64, generator: generator);
        using var positions = RotaryEmbedding.Create(model.Config, length);
        return model.ComputeLogits(ids, new ForwardContext(new FullAttention(), positions));
    }

    private string Export(string name, GgufFileType type = GgufFileType.F32)
    {
        GgufFamilies.Write(_folder["model"], name);
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using var model = ModelLoader.Load(folder.Config, folder);
        GgufExporter.Write(_folder["a.gguf"], model, folder, type, withTokenizer: false);
        return _folder["a.gguf"];
    }

    // The file has the divisors of Llama 3's positions in fp32, and -e^A for A; 64 layers make more of it.
    private static double ToleranceOf(string name) => name is "exaone4_windows" or "qwen3_5" or "gemma4" ? 1e-5 : 2e-6;

    [Theory]
    [MemberData(nameof(GgufFamilies.Names), MemberType = typeof(GgufFamilies))]
    public void Exported_and_read_again_it_is_the_same_model(string name)
    {
        using var scope = NewDisposeScope();
        var path = Export(name);
        using var origin = CheckpointDirectory.Open(_folder["model"]);
        using var model = ModelLoader.Load(origin.Config, origin);
        using var file = GgufModel.Open(path);
        Assert.Equal(GgufFamilies.ArchitectureOf(name), file.Architecture);
        Assert.Equal(model.Config.ModelType, file.Config.ModelType);
        var expected = Logits(model, 44);
        using (var again = ModelLoader.Load(file.Config, file.Weights))
            Near.AssertRelative(expected, Logits(again, 44), ToleranceOf(name), name);

        // As a Hugging Face folder, whose config is read from its text.
        using var opened = GgufModel.Open(path);
        GgufImporter.Write(_folder["imported"], opened);
        using var imported = CheckpointDirectory.Open(_folder["imported"]);
        using var third = ModelLoader.Load(imported.Config, imported);
        Assert.Equal(model.Weights.Select(w => w.Name).Order(), third.Weights.Select(w => w.Name).Order());
        Near.AssertRelative(expected, Logits(third, 44), ToleranceOf(name), name);
        foreach (var weight in model.Weights)
            Near.AssertRelative(weight.Value, third.Weights.Single(w => w.Name == weight.Name).Value, 1e-6, weight.Name);
    }

    // Every expert is a part of a stacked tensor of blocks.
    [Theory]
    [InlineData("mixtral_wide", GgufFileType.Q8_0)]
    [InlineData("mixtral_wide", GgufFileType.Q4_0)]
    [InlineData("qwen3_moe_wide", GgufFileType.Q4_0)]
    [InlineData("gemma3_wide", GgufFileType.Q8_0)]
    public void Kept_blocks_compute_as_widened_ones(string name, GgufFileType type)
    {
        using var scope = NewDisposeScope();
        var path = Export(name, type);
        using var file = GgufModel.Open(path);
        using var widened = ModelLoader.Load(file.Config, file.Weights);
        using var again = GgufModel.Open(path);
        using var kept = ModelLoader.Load(again.Config, again.Weights, null, QuantizationKind.Keep);
        Assert.All(kept.Linears.Where(l => l != kept.Head), l => Assert.IsType<GgufProjection>(l.Projection));
        Near.AssertRelative(Logits(widened, 30), Logits(kept, 30), 1e-5, name);
        if (widened.Config.Experts is not null)
            Assert.Equal(GgufType.F32, again.StoredTensors.Single(t => t.Name == "blk.0.ffn_gate_inp.weight").Type);
    }

    // The same experts as the published gpt-oss has them and as a GGUF file has them, which is made here byte by byte.
    [Fact]
    public void Experts_in_mxfp4_are_read_as_they_are()
    {
        using var scope = NewDisposeScope();
        var plain = GgufReader.Read(Export("gpt_oss_wide"));
        var random = new Random(5);
        var file = new GgufBytes();
        foreach (var (key, value) in plain.Keys)
            Add(file, key, value);
        foreach (var (name, info) in plain.Tensors)
        {
            var isExpert = name.Contains("_exps.weight", StringComparison.Ordinal);
            var data = new byte[isExpert ? info.ElementCount / 32 * 17 : 4 * info.ElementCount];
            if (isExpert)
            {
                random.NextBytes(data);
                for (var at = 0; at < data.Length; at += 17)
                    data[at] = (byte)(120 + random.Next(6));
            }
            else
            {
                using var value = plain.Open(name);
                value.bytes.CopyTo(data);
            }
            file.Tensor(name, (int)(isExpert ? GgufType.Mxfp4 : GgufType.F32), data, [.. info.Shape.Reverse()]);
        }
        plain.Dispose();
        File.WriteAllBytes(_folder["b.gguf"], file.Build());

        using var opened = GgufModel.Open(_folder["b.gguf"]);
        GgufImporter.Write(_folder["widened"], opened);
        using var folder = CheckpointDirectory.Open(_folder["widened"]);
        using var widened = ModelLoader.Load(folder.Config, folder);
        using var packed = ModelLoader.Load(opened.Config, opened.Weights);
        Assert.Equal(QuantizationKind.Mxfp4, ((QuantizedProjection)packed.Stacks[0].Layers[0].Projection).Kind);
        foreach (var (theirs, ours) in packed.Stacks.SelectMany(s => s.Layers).Zip(widened.Stacks.SelectMany(s => s.Layers)))
            Assert.True(theirs.Projection.ToDense().equal(ours.Projection.ToDense()).all().item<bool>(), ours.Name);
        Near.AssertRelative(Logits(widened, 30), Logits(packed, 30), 1e-5);
    }

    private static void Add(GgufBytes file, string key, object value) =>
        _ = value switch
        {
            uint number => file.Key(key, number),
            float number => file.Key(key, number),
            bool flag => file.Key(key, flag),
            string text => file.Key(key, text),
            _ => throw new ArgumentException(key),
        };

    // What engines take for granted, and what has no place, is refused before anything is written.
    [Theory]
    [InlineData("gemma3_scale", "the factor on scores is 0.204124 in the model and 0.25 to engines")]
    [InlineData("gemma3_period", "in layer 2, the window is none in the model and 16 to engines")]
    [InlineData("smollm3_all", "in layer 3, engines compute no positions")]
    [InlineData("gpt_oss_bound", "the bound of activations (0: none) is 2 in the model and 7 to engines")]
    [InlineData("qwen3_moe_sum", "weights of experts that add up to 1 (1: yes) is 0 in the model and 1 to engines")]
    [InlineData("qwen3_moe_dense", "'model.layers.1.mlp.gate_proj.weight' has no place in a GGUF file of the architecture 'qwen3moe'")]
    [InlineData("exaone4_short", "in layer 0, the window is 16 in the model and none to engines")]
    [InlineData("arcee_range", "Cannot write RoPE scaling 'yarn' with these parameters")]
    public void What_a_file_cannot_say_is_refused_by_name(string name, string reason)
    {
        var message = Assert.ThrowsAny<Exception>(() => Export(name)).Message;
        Assert.Contains(reason, message, StringComparison.Ordinal);
        Assert.False(File.Exists(_folder["a.gguf"]));
    }

    // An adapter of its own file names the base's tensors.
    [Fact]
    public void Adapter_on_stacked_experts_is_refused_and_on_attention_written()
    {
        GgufFamilies.Write(_folder["model"], "mixtral");
        var folder = CheckpointDirectory.Open(_folder["model"]);
        using var model = ModelLoader.Load(folder.Config, folder);
        var options = new AdapterOptions
        {
            Rank = 2,
            TrainEmbeddings = false,
            TrainNorms = false,
        };
        using (var set = AdapterSet.Attach(model, options with { TargetModules = ["q_proj"] }, 3))
            Assert.Equal(8, GgufExporter.WriteAdapter(_folder["a.gguf"], set, model, GgufFileType.F32).Tensors.Count);
        using var experts = AdapterSet.Attach(model, options with { TargetModules = ["w1"] }, 3);
        Assert.Contains(
            "has no place of its own in a GGUF file",
            Assert
                .Throws<ConfigurationException>(() => GgufExporter.WriteAdapter(_folder["b.gguf"], experts, model, GgufFileType.F32))
                .Message
        );
    }
}
