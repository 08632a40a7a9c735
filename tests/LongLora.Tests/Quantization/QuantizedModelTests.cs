using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Export;
using LongLora.Models;
using LongLora.Options;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tests.Configs;
using LongLora.Tests.Models;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Quantization;

public sealed class QuantizedModelTests : IDisposable
{
    private static readonly string s_stories = SharedMaterial.Golden("stories260K-hf");

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static CausalLanguageModel Load(string path, QuantizationKind kind = QuantizationKind.None)
    {
        var folder = CheckpointDirectory.Open(path);
        return ModelLoader.Load(folder.Config, folder, null, kind);
    }

    private string Quantized(QuantizationKind kind)
    {
        var path = _folder[kind.ToString()];
        var folder = CheckpointDirectory.Open(s_stories);
        using var model = ModelLoader.Load(folder.Config, folder, null, kind);
        QuantizedCheckpoint.Write(path, model, folder);
        return path;
    }

    private static Tensor Ids() => arange(3, 103, ScalarType.Int64).view(1, 100);

    private static Tensor Logits(CausalLanguageModel model)
    {
        using var positions = RotaryEmbedding.Create(model.Config, 100);
        return model.ComputeLogits(Ids(), new ForwardContext(new FullAttention(), positions));
    }

    [Theory]
    [InlineData(QuantizationKind.Nf4)]
    [InlineData(QuantizationKind.Int8)]
    public void Written_checkpoint_loads_to_the_same_bits(QuantizationKind kind)
    {
        using var scope = NewDisposeScope();
        using var made = Load(s_stories, kind);
        using var read = Load(Quantized(kind));
        Assert.True(made.IsQuantized && read.IsQuantized);
        Assert.Equal(made.Linears.Count, read.Linears.Count(l => l.Projection is QuantizedProjection));
        foreach (var (first, second) in made.Linears.Zip(read.Linears))
        {
            Assert.True(first.Projection.ToDense().equal(second.Projection.ToDense()).all().item<bool>(), first.Name);
            Assert.Equal(((QuantizedProjection)first.Projection).OriginalType, ((QuantizedProjection)second.Projection).OriginalType);
        }
        Assert.True(Logits(made).equal(Logits(read)).all().item<bool>());
        Assert.Empty(Directory.EnumerateDirectories(_folder.Root, "*.partial*"));
    }

    // As save_pretrained of transformers with bitsandbytes 0.50 writes them.
    [Theory]
    [InlineData(QuantizationKind.Nf4, "llama_nf4")]
    [InlineData(QuantizationKind.Int8, "llama_int8")]
    public void Write_gives_every_number_the_type_that_transformers_gives_it(QuantizationKind kind, string golden)
    {
        var expected = NumberTypeTests.Types(File.ReadAllText(SharedMaterial.Shared("goldens", "bitsandbytes", golden, "config.json")));
        var written = NumberTypeTests.Types(File.ReadAllText(Path.Combine(Quantized(kind), "config.json")));
        Assert.True(written[".quantization_config.llm_int8_threshold"]);
        Assert.DoesNotContain(written, t => expected.TryGetValue(t.Key, out var type) && type != t.Value);
    }

    [Fact]
    public void Written_nf4_has_names_types_and_shapes_of_bitsandbytes()
    {
        using var scope = NewDisposeScope();
        using var files = CheckpointDirectory.Open(Quantized(QuantizationKind.Nf4));
        const string name = "model.layers.0.mlp.gate_proj.weight"; // [172, 64]
        (string, ScalarType, long[])[] expected =
        [
            ("", ScalarType.Byte, [172 * 32, 1]),
            (".absmax", ScalarType.Byte, [172]),
            (".quant_map", ScalarType.Float32, [16]),
            (".nested_absmax", ScalarType.Float32, [1]),
            (".nested_quant_map", ScalarType.Float32, [256]),
        ];
        foreach (var (suffix, type, shape) in expected)
        {
            Assert.Equal(type, files.Tensors[name + suffix].Type);
            Assert.Equal(shape, files.Tensors[name + suffix].Shape);
        }
        var state = System.Text.Encoding.UTF8.GetString(files.Open(name + ".quant_state.bitsandbytes__nf4").data<byte>().ToArray());
        Assert.StartsWith(
            "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"float32\", \"shape\": [172, 64], \"nested_blocksize\": 256, "
                + "\"nested_dtype\": \"float32\", \"nested_offset\": 0.",
            state
        );
        var config = JsonNode.Parse(files.ConfigText)!["quantization_config"]!;
        Assert.Equal(
            ("bitsandbytes", "nf4", true, true),
            (
                (string?)config["quant_method"],
                (string?)config["bnb_4bit_quant_type"],
                (bool)config["load_in_4bit"]!,
                (bool)config["bnb_4bit_use_double_quant"]!
            )
        );
        Assert.Equal("6.0", config["llm_int8_threshold"]!.ToJsonString());
        Assert.Equal(ScalarType.Float32, files.Tensors["model.embed_tokens.weight"].Type);

        // The values, read by the slow version from the file alone.
        using var model = Load(_folder["Nf4"]);
        var stored = files.Tensors.Keys.Where(k => k.StartsWith(name, StringComparison.Ordinal)).ToDictionary(k => k, files.Open);
        var layer = model.Linears.Single(l => l.Name + ".weight" == name);
        Assert.Equal(SlowNf4.Dequantize(stored, name), layer.Projection.ToDense().data<float>().ToArray());
    }

    [Fact]
    public void Checkpoint_without_double_quantisation_and_other_block_size_is_read()
    {
        using var scope = NewDisposeScope();
        var weight = SlowNf4.Random(1, 8, 128);
        var magnitudes = weight.view(-1, 128).abs().amax([1]);
        var codes = weight.view(-1, 128).div(magnitudes.unsqueeze(1)).view(-1).data<float>().Select(SlowNf4.Code).ToArray();
        var bytes = codes.Chunk(2).Select(pair => (byte)(pair[0] << 4 | pair[1])).ToArray();
        var state = System.Text.Encoding.UTF8.GetBytes(
            "{\"quant_type\": \"nf4\", \"blocksize\": 128, \"dtype\": \"float16\", \"shape\": [8, 128]}"
        );
        using var files = new GoldenTensors(
            new()
            {
                ["a.weight"] = tensor(bytes).view(-1, 1).DetachFromDisposeScope(),
                ["a.weight.absmax"] = magnitudes.DetachFromDisposeScope(),
                ["a.weight.quant_map"] = tensor(SlowNf4.Table).DetachFromDisposeScope(),
                ["a.weight.quant_state.bitsandbytes__nf4"] = tensor(state).DetachFromDisposeScope(),
            }
        );
        var source = new LongLora.Layers.CheckpointWeights(files, CPU);
        using var projection = (Nf4Projection)new ProjectionQuantizer(QuantizationKind.None, CPU).Make(source, "a", 8, 128, () => null)!;
        source.Finish();
        var expected = codes.Select((code, i) => SlowNf4.Table[code] * magnitudes[i / 128].item<float>()).ToArray();
        Assert.Equal(expected, projection.ToDense().data<float>().ToArray());
        Assert.Equal(expected, projection.DequantizeByLookup((0, 8), (0, 128)).data<float>().ToArray());
        Assert.Equal(ScalarType.Float16, projection.OriginalType);
    }

    [Theory]
    [InlineData(QuantizationKind.Nf4)]
    [InlineData(QuantizationKind.Int8)]
    public void Merged_model_computes_as_quantised_one_with_adapters_and_gradients_agree(QuantizationKind kind)
    {
        using var scope = NewDisposeScope();
        var origin = CheckpointDirectory.Open(Quantized(kind));
        using var model = ModelLoader.Load(origin.Config, origin);
        HuggingFaceExporter.Write(_folder["dense"], model, origin);
        using var dense = Load(_folder["dense"]);
        Assert.False(dense.IsQuantized);
        Assert.DoesNotContain("quantization_config", File.ReadAllText(_folder["dense", "config.json"]));

        (double Loss, Tensor Gradients) Pass(CausalLanguageModel used)
        {
            using var set = AdapterSet.Attach(used, new AdapterOptions(), 3);
            foreach (var b in set.Adapters.Values.Select(a => a.B.Value))
                b.copy_(SlowNf4.Random(9, [.. b.shape]));
            using var parameters = new ParameterBuffer(set.Weights);
            using var positions = RotaryEmbedding.Create(used.Config, 100);
            using var pass = new CheckpointedPass(used);
            var loss = pass.ForwardBackward(
                    Ids(),
                    LlamaGoldenTests.Targets(Ids()),
                    new ForwardContext(new ShiftedSparseAttention(32), positions),
                    0.01
                )
                .item<double>();
            if (ReferenceEquals(used, model))
                HuggingFaceExporter.Write(_folder["merged"], used, origin);
            return (loss, parameters.Gradients.clone());
        }
        var (quantisedLoss, quantisedGradients) = Pass(model);
        var (denseLoss, denseGradients) = Pass(dense);
        Assert.Equal(denseLoss, quantisedLoss, 1e-5 * denseLoss);
        Near.AssertRelative(denseGradients, quantisedGradients, 1e-5);

        using var merged = Load(_folder["merged"]);
        using var again = AdapterSet.Attach(model, new AdapterOptions(), 3);
        foreach (var b in again.Adapters.Values.Select(a => a.B.Value))
            b.copy_(SlowNf4.Random(9, [.. b.shape]));
        Near.AssertRelative(Logits(model), Logits(merged), 1e-5);
    }

    [Fact]
    public void Summary_names_the_quantisation()
    {
        var facts = CheckpointSummary.Read(Quantized(QuantizationKind.Nf4)).Facts;
        Assert.Contains(facts, f => f.Name == "quantization" && f.Value == "35 matrices in nf4");
    }

    [Fact]
    public void Full_fine_tuning_of_a_quantised_model_is_refused()
    {
        using var model = Load(s_stories, QuantizationKind.Nf4);
        Assert.Contains(
            "full precision",
            Assert.Throws<ConfigurationException>(() => AdapterSet.Attach(model, new AdapterOptions { TrainEverything = true }, 1)).Message
        );
        var options = FineTuneOptionTable.Defaults with
        {
            Method = new() { Tuning = TuningMethod.Full },
            Machine = new() { Quantization = QuantizationKind.Nf4 },
        };
        Assert.Contains("quantization is nf4, but tuning is full", Assert.Throws<ConfigurationException>(options.Validate).Message);
    }

    [Fact]
    public void Other_kind_than_stored_is_refused() =>
        Assert.Contains(
            "stored in nf4",
            Assert.Throws<ConfigurationException>(() => Load(Quantized(QuantizationKind.Nf4), QuantizationKind.Int8)).Message
        );

    [Fact]
    public void Writing_a_model_with_adapters_or_without_quantisation_is_refused()
    {
        var folder = CheckpointDirectory.Open(s_stories);
        using var model = ModelLoader.Load(folder.Config, folder, null, QuantizationKind.Nf4);
        using var set = AdapterSet.Attach(model, new AdapterOptions(), 1);
        Assert.Contains(
            "adapters",
            Assert.Throws<ConfigurationException>(() => QuantizedCheckpoint.Write(_folder["x"], model, folder)).Message
        );
        using var plain = Load(s_stories);
        Assert.Contains(
            "not quantized",
            Assert.Throws<ConfigurationException>(() => QuantizedCheckpoint.Write(_folder["x"], plain, folder)).Message
        );
    }

    [Theory]
    [InlineData("fp4", "bitsandbytes", "bnb_4bit_quant_type")]
    [InlineData("nf4", "gptq", "quant_method")]
    public void Config_of_another_quantisation_is_refused(string type, string method, string field)
    {
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(s_stories, "config.json")))!;
        config["quantization_config"] = new JsonObject
        {
            ["quant_method"] = method,
            ["load_in_4bit"] = true,
            ["bnb_4bit_quant_type"] = type,
        };
        Assert.Contains(field, Assert.Throws<CheckpointException>(() => ModelConfigReader.Parse(config.ToJsonString())).Message);
    }

    [Fact]
    public void New_model_is_made_quantised_and_freed()
    {
        static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        var config = CheckpointDirectory.Open(s_stories, headersOnly: true).Config;
        ModelLoader.Create(config, 1, null, QuantizationKind.Nf4).Dispose();
        var before = Live();
        using (var model = ModelLoader.Create(config, 1, null, QuantizationKind.Nf4))
            Assert.True(model.IsQuantized);
        Assert.Equal(before, Live());
    }
}
