using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Export;
using LongLora.Layers;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tests.Checkpoints;
using LongLora.Tests.Models;
using LongLora.Tests.Quantization;
using LongLora.Tokenization;
using LongLora.Training;
using static TorchSharp.torch;

namespace LongLora.Tests.Loading;

public sealed class GgufModelTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Files { get; } =
    ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M", "Q6_K", "MXFP4_MOE"];

    private static string Golden(string name) => SharedMaterial.Shared("goldens", "gguf", name + ".gguf");

    private static CausalLanguageModel Load(GgufModel file, QuantizationKind kind = QuantizationKind.None) =>
        ModelLoader.Load(file.Config, file.Weights, null, kind);

    private static int[] GoldenIds()
    {
        var bytes = File.ReadAllBytes(SharedMaterial.Shared("goldens", "gguf", "tokens.bin"));
        return [.. Enumerable.Range(0, bytes.Length / 2).Select(i => (int)BitConverter.ToUInt16(bytes, 2 * i))];
    }

    private static double Loss(CausalLanguageModel model, int[] ids)
    {
        using var scope = NewDisposeScope();
        using var positions = RotaryEmbedding.Create(model.Config, ids.Length);
        var logits = model.ComputeLogits(tensor(ids, ScalarType.Int64).unsqueeze(0), new ForwardContext(new FullAttention(), positions))[0];
        return nn.functional.cross_entropy(logits[..^1].to(ScalarType.Float64), tensor(ids[1..], ScalarType.Int64)).item<double>();
    }

    // Every type that llama.cpp writes, whole and kept in blocks, against the float64 results of another program.
    [Theory]
    [MemberData(nameof(Files))]
    public void Loss_of_every_type_is_the_golden_whole_and_kept(string name)
    {
        var expected = JsonNode.Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "gguf", "expected.json")))![name]!;
        var ids = GoldenIds();
        foreach (var kind in new[] { QuantizationKind.None, QuantizationKind.Keep })
        {
            using var file = GgufModel.Open(Golden(name));
            Assert.Equal((long)expected["size"]!, new FileInfo(file.Path).Length);
            var types = file.StoredTensors.CountBy(t => GgufFormat.Name(t.Type)).ToDictionary(t => t.Key, t => t.Value);
            Assert.Equal(expected["tensor_types"]!.AsObject().ToDictionary(t => t.Key, t => (int)t.Value!), types);
            using var model = Load(file, kind);
            var kept = model.Linears.Count(l => l.Projection is GgufProjection);
            Assert.Equal(kind == QuantizationKind.Keep && types.Keys.Any(t => t is not ("F32" or "F16" or "BF16")) ? 14 : 0, kept);
            var loss = Loss(model, ids);
            TestContext.Current.SendDiagnosticMessage($"{name} {kind}: {loss:F9}, off by {loss - (double)expected["loss"]!:E1}");
            Assert.Equal((double)expected["loss"]!, loss, 2e-6);
        }
    }

    [Theory]
    [InlineData("IQ4_NL")]
    [InlineData("IQ4_XS")]
    [InlineData("TQ1_0")]
    public void Types_that_are_not_supported_are_refused_by_name(string name) =>
        Assert.Contains(
            $"has the type {name}, which is not supported. Use a file with one of F32",
            Assert.Throws<CheckpointException>(() => GgufModel.Open(Golden(name))).Message
        );

    [Fact]
    public void Config_of_a_real_file_is_that_of_the_published_model()
    {
        using var file = GgufModel.Open(SharedMaterial.Shared("models", "smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf"));
        Assert.Equal(
            new ModelConfig
            {
                ModelType = "llama",
                HiddenSize = 576,
                IntermediateSize = 1536,
                LayerCount = 30,
                HeadCount = 9,
                KeyValueHeadCount = 3,
                HeadSize = 64,
                VocabularySize = 49152,
                MaxPositions = 8192,
                NormEpsilon = 1e-5,
                RopeTheta = 100000,
                TiedEmbeddings = true,
                BosTokenId = 1,
                EosTokenIds = file.Config.EosTokenIds,
            },
            file.Config
        );
        Assert.Equal([2], file.Config.EosTokenIds);
        Assert.Equal([2, 0], file.EndTokenIds);
        Assert.Equal(("llama", "apache-2.0", 272), (file.Architecture, file.License, file.Tensors.Count));
        Assert.StartsWith("{% for message in messages %}", file.ChatTemplate);
        Assert.Equal("[2,0]", JsonNode.Parse(file.GenerationConfigText)!["eos_token_id"]!.ToJsonString());
    }

    // Written and read again: config, names and rows of every family, to the bit.
    [Theory]
    [InlineData("llama_tiny", null)]
    [InlineData("mistral_tiny", null)]
    [InlineData("qwen2_tiny", null)]
    [InlineData("qwen3_tiny", null)]
    [InlineData("phi3_tiny", null)]
    [InlineData("neox_tiny", null)]
    [InlineData("neox_serial_tiny", null)]
    [InlineData("mistral_tiny", "linear")]
    [InlineData("mistral_tiny", "yarn")]
    [InlineData("mistral_tiny", "llama3")]
    [InlineData("mistral_tiny", "longrope")]
    [InlineData("qwen3_tiny", "yarn")]
    [InlineData("neox_tiny", "linear")]
    [InlineData("neox_tiny", "yarn")]
    public void Model_that_was_exported_is_read_to_the_bit(string golden, string? scaling)
    {
        using var scope = NewDisposeScope();
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden(golden));
        var config = scaling is null
            ? folder.Config
            : RopeScaling.Extend(folder.Config with { SlidingWindow = null }, scaling, null, 4 * folder.Config.MaxPositions);
        using var model = ModelLoader.Load(config, folder);
        GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F32, withTokenizer: false);
        using var file = GgufModel.Open(_folder["a.gguf"]);
        var read = file.Config;
        foreach (var length in new[] { 16, read.MaxPositions })
        {
            var (first, second) = (RopeScaling.ComputeFrequencies(config, length), RopeScaling.ComputeFrequencies(read, length));
            Assert.Equal(first.AttentionFactor, second.AttentionFactor, 2e-6);
            for (var i = 0; i < first.Inverse.Length; i++)
                Assert.Equal(1, second.Inverse[i] / first.Inverse[i], 1e-6);
        }
        if (config.SlidingWindow is null)
            Assert.Equal(RopeScaling.GetOriginalContext(config), RopeScaling.GetOriginalContext(read));
        // A window, and how the context was stretched, are all that such a file may say in another way.
        Assert.Equal(
            config with
            {
                ModelType = config.ModelType == "mistral" ? "llama" : config.ModelType,
                MaxPositions = read.MaxPositions,
                RopeScaling = read.RopeScaling,
                SlidingWindow = golden == "phi3_tiny" ? config.SlidingWindow : null,
                BosTokenId = null,
                EosTokenIds = read.EosTokenIds,
                InitializerRange = read.InitializerRange,
                FirstWindowedLayer = 0,
                Activation = read.Activation,
            },
            read
        );
        Assert.Equal(scaling ?? config.RopeScaling.Kind, read.RopeScaling.Kind);
        using var again = Load(file);
        foreach (var (weight, other) in model.Weights.Zip(again.Weights))
        {
            Assert.Equal(weight.Name, other.Name);
            Assert.True(weight.Value.to(ScalarType.Float32).equal(other.Value).all().item<bool>(), weight.Name);
        }
    }

    // As published: only the divisors are in a GGUF file.
    [Theory]
    [InlineData(8, 1, 4, 8192, 500000, 128)]
    [InlineData(32, 1, 4, 8192, 500000, 64)]
    [InlineData(16, 1, 8, 4096, 10000, 128)]
    public void Llama3_scaling_is_found_from_its_divisors(int factor, int low, int high, int original, int theta, int size)
    {
        var config = new ModelConfig
        {
            ModelType = "llama",
            HiddenSize = 2 * size,
            IntermediateSize = 32,
            LayerCount = 1,
            HeadCount = 2,
            KeyValueHeadCount = 2,
            HeadSize = size,
            VocabularySize = 16,
            MaxPositions = 131072,
            RopeTheta = theta,
            TiedEmbeddings = true,
            RopeScaling = new RopeScalingConfig
            {
                Kind = "llama3",
                Factor = factor,
                LowFrequencyFactor = low,
                HighFrequencyFactor = high,
                OriginalMaxPositions = original,
            },
        };
        using var model = ModelLoader.Create(config, 1);
        Directory.CreateDirectory(_folder["m"]);
        File.WriteAllText(_folder["m", "config.json"], ModelConfigWriter.Create(config));
        SafetensorsWriter.WriteModel(_folder["m"], [.. model.Weights.Select(w => TensorToWrite.Of(w.Name, w.Value))]);
        var folder = CheckpointDirectory.Open(_folder["m"]);
        GgufExporter.Write(_folder["a.gguf"], model, folder, GgufFileType.F16, withTokenizer: false);
        using var file = GgufModel.Open(_folder["a.gguf"]);
        Assert.Equal(config.RopeScaling, file.Config.RopeScaling);
    }

    [Fact]
    public void Divisors_that_no_rule_gives_are_kept_as_they_are()
    {
        var divisors = Enumerable.Range(0, 8).Select(i => 1 + i * i / 7f).ToArray();
        var bytes = GgufModelFiles.Tiny().Tensor("rope_freqs.weight", 0, [.. divisors.SelectMany(BitConverter.GetBytes)], 8);
        File.WriteAllBytes(_folder["a.gguf"], bytes.Build());
        using var file = GgufModel.Open(_folder["a.gguf"]);
        foreach (var length in new[] { 1, 64 })
        {
            var (inverse, attention) = RopeScaling.ComputeFrequencies(file.Config, length);
            Assert.Equal(1, attention);
            for (var i = 0; i < 8; i++)
                Assert.Equal(Math.Pow(10000, -i / 8.0) / divisors[i], inverse[i], 1e-6 * inverse[i]);
        }
    }

    // context_length is 64 in all of them. Files whose scaling was added later keep the number from before it.
    [Theory]
    [InlineData(null, 0f, 0, 64)]
    [InlineData("none", 1f, 64, 64)]
    [InlineData("linear", 8f, 0, 512)]
    [InlineData("linear", 8f, 64, 512)]
    [InlineData("linear", 4f, 16, 64)]
    [InlineData(null, 8f, 0, 512)]
    [InlineData("yarn", 4f, 64, 256)]
    [InlineData("yarn", 4f, 32, 128)]
    [InlineData("yarn", 4f, 16, 64)]
    [InlineData("yarn", 4f, 0, 256)]
    [InlineData("longrope", 4f, 16, 64)]
    public void Context_of_a_scaling_follows_from_the_metadata(string? kind, float factor, int original, int context)
    {
        var bytes = GgufModelFiles.Tiny();
        if (kind is not null)
            bytes = bytes.Key("llama.rope.scaling.type", kind);
        if (factor > 0)
            bytes = bytes.Key("llama.rope.scaling.factor", factor);
        if (original > 0)
            bytes = bytes.Key("llama.rope.scaling.original_context_length", (uint)original);
        if (kind == "longrope")
            foreach (var name in (string[])["rope_factors_long.weight", "rope_factors_short.weight"])
                bytes = bytes.Tensor(name, 0, [.. Enumerable.Repeat(2f, 8).SelectMany(BitConverter.GetBytes)], 8);
        File.WriteAllBytes(_folder["a.gguf"], bytes.Build());
        using var file = GgufModel.Open(_folder["a.gguf"]);
        Assert.Equal(context, RopeScaling.GetCurrentContext(file.Config));
    }

    // As published: the divisors and the attention factor, and no kind.
    [Fact]
    public void Phi3_file_without_a_kind_of_scaling_has_longrope()
    {
        var (longer, shorter) = (Enumerable.Range(1, 8).Select(i => 1f + i).ToArray(), Enumerable.Repeat(1.5f, 8).ToArray());
        var bytes = GgufModelFiles
            .Tiny()
            .Key("llama.rope.scaling.original_context_length", 16u)
            .Key("llama.rope.scaling.attn_factor", (float)Math.Sqrt(1 + Math.Log(4) / Math.Log(16)))
            .Tensor("rope_factors_long.weight", 0, [.. longer.SelectMany(BitConverter.GetBytes)], 8)
            .Tensor("rope_factors_short.weight", 0, [.. shorter.SelectMany(BitConverter.GetBytes)], 8);
        File.WriteAllBytes(_folder["a.gguf"], bytes.Build());
        using var file = GgufModel.Open(_folder["a.gguf"]);
        var scaling = file.Config.RopeScaling;
        Assert.Equal(("longrope", 16, (double?)null), (scaling.Kind, scaling.OriginalMaxPositions, scaling.AttentionFactor));
        Assert.Equal(longer.Select(f => (double)f), scaling.LongFactors!);
        Assert.Equal(shorter.Select(f => (double)f), scaling.ShortFactors!);
    }

    [Fact]
    public void Metadata_that_cannot_be_are_refused_by_name()
    {
        CheckpointException Refused(GgufBytes bytes)
        {
            File.WriteAllBytes(_folder["a.gguf"], bytes.Build());
            return Assert.Throws<CheckpointException>(() => GgufModel.Open(_folder["a.gguf"]).Dispose());
        }

        var cases = new (GgufBytes File, string Reason)[]
        {
            (
                GgufModelFiles.Tiny("mamba"),
                "architecture 'mamba', which is not supported. The supported architectures are llama, qwen2, qwen3, qwen3moe, phi3, "
                    + "gptneox, "
            ),
            (GgufModelFiles.Tiny().Key("llama.odd", 1u), "the key 'llama.odd' is not supported"),
            (GgufModelFiles.Tiny("qwen2").Key("qwen2.expert_count", 8u), "'qwen2.expert_count' is 8; experts are not supported in qwen2"),
            (GgufModelFiles.Tiny().Key("llama.expert_count", 8u), "the key 'llama.expert_used_count' is missing"),
            (GgufModelFiles.Tiny().Key("llama.attention.key_length", 7u), "it must be even"),
            (GgufModelFiles.Tiny().Key("llama.rope.dimension_count", 8u), "'llama.rope.dimension_count' is 8"),
            (GgufModelFiles.Tiny().Key("llama.rope.scaling.type", "odd"), "'llama.rope.scaling.type' is 'odd'; only none, linear"),
            (GgufModelFiles.Tiny().Key("llama.rope.scaling.type", "longrope"), "scaling.original_context_length' is missing"),
            (GgufModelFiles.Tiny().Key("llama.rope.scaling.type", "yarn"), "'llama.rope.scaling.factor' is 0"),
            (GgufModelFiles.Tiny().Key("general.quantization_version", 1u), "only 2 is supported"),
            (
                GgufModelFiles.Tiny().Floats("blk.0.ssm_in.weight", 32),
                "the tensor 'blk.0.ssm_in.weight' [32] is not part of a supported 'llama' model"
            ),
            (GgufModelFiles.Tiny().Floats("rope_freqs.weight", 3), "'rope_freqs.weight' must have 8 numbers above 0"),
            (
                new GgufBytes().Key("general.type", "adapter"),
                "is not a model because general.type is 'adapter'. Give the GGUF file of its base"
            ),
            (new GgufBytes().Key("general.type", "model"), "the key 'general.architecture' is missing"),
            (new GgufBytes().Key("general.architecture", "llama"), "the key 'llama.embedding_length' is missing"),
        };
        foreach (var (file, reason) in cases)
            Assert.Contains(reason, Refused(file).Message, StringComparison.Ordinal);
        Assert.False(GgufModel.IsGguf(_folder["no"]));
        Assert.False(GgufModel.IsGguf(_folder.Text("t", "GGU")));
        Assert.True(GgufModel.IsGguf(_folder["a.gguf"]));
    }

    [Fact]
    public void Tensors_that_are_missing_or_of_another_shape_are_refused_when_the_model_is_made()
    {
        File.WriteAllBytes(_folder["a.gguf"], GgufModelFiles.Tiny().Key("llama.vocab_size", 16u).Build());
        using (var file = GgufModel.Open(_folder["a.gguf"]))
            Load(file).Dispose();
        var other = GgufModelFiles.Tiny().Floats("blk.1.attn_norm.weight", 32).Build();
        File.WriteAllBytes(_folder["a.gguf"], other);
        using (var file = GgufModel.Open(_folder["a.gguf"]))
        {
            Assert.Contains("'model.layers.1.input_layernorm.weight'", Assert.Throws<CheckpointException>(() => Load(file)).Message);
            Assert.Contains(
                "'model.layers.1.input_layernorm.weight' does not belong to the model",
                Assert.Throws<CheckpointException>(() => GgufImporter.Write(_folder["out"], file)).Message
            );
        }
        Assert.False(Directory.Exists(_folder["out"]));
    }

    [Theory]
    [InlineData("Q4_K_M")]
    [InlineData("Q3_K_M")]
    [InlineData("Q5_1")]
    public void Kept_matrices_compute_as_dense_ones_of_their_numbers(string name)
    {
        using var scope = NewDisposeScope();
        using var file = GgufModel.Open(Golden(name));
        using var model = Load(file, QuantizationKind.Keep);
        foreach (var layer in model.Linears.Where(l => l.Projection is GgufProjection))
        {
            var projection = (GgufProjection)layer.Projection;
            using var matrix = new Weight("w", projection.ToDense());
            using (var expected = file.Weights.Open(layer.Name + ".weight"))
                Assert.True(expected.equal(matrix.Value).all().item<bool>(), layer.Name);
            var dense = new DenseProjection(matrix);
            var (rows, gradient) = (SlowNf4.Random(3, 21, layer.InputSize), SlowNf4.Random(4, 21, layer.OutputSize));
            using var noGradient = no_grad();
            foreach (var outputs in new FeatureSlice?[] { null, new(layer.OutputSize / 4, layer.OutputSize / 2 + 1), new(0, 1) })
            {
                Near.AssertRelative(dense.Forward(rows, outputs), projection.Forward(rows, outputs), 1e-6, layer.Name);
                var used = outputs is { } o ? gradient.narrow(1, o.Start, o.Count).contiguous() : gradient;
                foreach (var inputs in new FeatureSlice?[] { null, new(layer.InputSize / 4 + 3, layer.InputSize / 2), new(0, 1) })
                    Near.AssertRelative(
                        dense.ComputeInputGradient(used, inputs, outputs),
                        projection.ComputeInputGradient(used, inputs, outputs),
                        1e-6,
                        layer.Name
                    );
            }
        }
    }

    // Three steps with everything that LoRA+ trains: the same losses and gradients as on the widened base, and no byte of the base moves.
    [Fact]
    public void Training_on_kept_blocks_equals_the_widened_base_and_moves_no_block()
    {
        using var scope = NewDisposeScope();
        File.Copy(Golden("Q4_K_M"), _folder["base.gguf"]);
        File.SetAttributes(_folder["base.gguf"], FileAttributes.Normal);
        var before = File.ReadAllBytes(_folder["base.gguf"]);
        var ids = tensor(GoldenIds(), ScalarType.Int64).unsqueeze(0);
        (List<double> Losses, Tensor Gradients) Train(QuantizationKind kind)
        {
            using var file = GgufModel.Open(_folder["base.gguf"]);
            using var model = Load(file, kind);
            var dense = model.Linears.Where(l => l != model.Head).ToDictionary(l => l.Name, l => l.Projection.ToDense());
            using var set = AdapterSet.Attach(model, new AdapterOptions(), 3);
            using var parameters = new ParameterBuffer(set.Weights);
            using var positions = RotaryEmbedding.Create(model.Config, (int)ids.size(1));
            using var pass = new CheckpointedPass(model);
            using var optimizer = new AdamW(parameters, new AdamWOptions());
            var losses = new List<double>();
            var gradients = parameters.Gradients;
            for (var step = 0; step < 3; step++)
            {
                parameters.Gradients.zero_();
                var context = new ForwardContext(new ShiftedSparseAttention(32), positions);
                losses.Add(pass.ForwardBackward(ids, LlamaGoldenTests.Targets(ids), context, 0.01).item<double>());
                gradients = parameters.Gradients.clone();
                optimizer.Step(1e-3, 1);
            }
            foreach (var layer in model.Linears.Where(l => l != model.Head))
                Assert.True(layer.Projection.ToDense().equal(dense[layer.Name]).all().item<bool>(), layer.Name);
            return (losses, gradients.MoveToOuterDisposeScope());
        }
        var (kept, whole) = (Train(QuantizationKind.Keep), Train(QuantizationKind.None));
        Assert.True(whole.Losses[2] < whole.Losses[0]);
        for (var step = 0; step < 3; step++)
            Assert.Equal(whole.Losses[step], kept.Losses[step], 1e-5 * whole.Losses[step]);
        Near.AssertRelative(whole.Gradients, kept.Gradients, 1e-4);
        Assert.Equal(before, File.ReadAllBytes(_folder["base.gguf"]));
    }

    [Fact]
    public void Head_is_read_in_the_blocks_of_the_file_until_its_table_changes()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        using var file = GgufModel.Open(Golden("Q8_0"));
        using var model = Load(file, QuantizationKind.Keep);
        var head = (DenseProjection)model.Head.Projection;
        var row = SlowNf4.Random(3, 1, model.Head.InputSize);
        var dense = row.mm(head.Weight.Value.to(ScalarType.Float32).t());
        Assert.True(head.IsReadAsStored);
        Near.AssertRelative(dense, head.Forward(row), 1e-6);
        head.Weight.Value.mul_(2);
        Assert.False(head.IsReadAsStored);
        Near.AssertRelative(2 * dense, head.Forward(row), 1e-6);
    }

    [Fact]
    public void Keep_is_refused_for_other_models_and_kept_bases_have_no_other_layout()
    {
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("llama_tiny"));
        Assert.Contains(
            "quantization is keep, but the model is not a GGUF file",
            Assert.Throws<ConfigurationException>(() => ModelLoader.Load(folder.Config, folder, null, QuantizationKind.Keep)).Message
        );
        using var file = GgufModel.Open(Golden("Q4_0"));
        using var model = Load(file, QuantizationKind.Keep);
        Assert.Contains(
            "stored in Q4_0 blocks",
            Assert.Throws<ConfigurationException>(() => ((GgufProjection)model.Linears[0].Projection).ToStoredTensors("a").ToList()).Message
        );
    }

    [Fact]
    public void Kept_block_with_a_scale_that_is_not_finite_is_refused()
    {
        var bytes = File.ReadAllBytes(Golden("Q4_0"));
        using (var file = GgufModel.Open(Golden("Q4_0")))
        {
            var reader = GgufReader.Read(Golden("Q4_0"));
            var header = GgufHeader.Read(Golden("Q4_0"));
            reader.Dispose();
            BitConverter.TryWriteBytes(bytes.AsSpan((int)header.Tensors["blk.1.ffn_up.weight"].Offset + 18 * 7), Half.NaN);
        }
        File.WriteAllBytes(_folder["a.gguf"], bytes);
        using var damaged = GgufModel.Open(_folder["a.gguf"]);
        Assert.Contains(
            "'blk.1.ffn_up.weight' has an infinite or NaN scale in block 7",
            Assert.Throws<CheckpointException>(() => Load(damaged, QuantizationKind.Keep)).Message
        );
        using var again = GgufModel.Open(_folder["a.gguf"]);
        Assert.Contains("NaN at element", Assert.Throws<CheckpointException>(() => Load(again)).Message);
    }

    // The folder is the same model: weights to the bit, tokens, config.
    [Theory]
    [InlineData(null, 0)]
    [InlineData(ScalarType.Float32, 0)]
    [InlineData(ScalarType.Float16, 1e-3)]
    [InlineData(ScalarType.BFloat16, 8e-3)]
    public void Imported_folder_is_the_same_model(ScalarType? type, double tolerance)
    {
        using var scope = NewDisposeScope();
        using var file = GgufModel.Open(Golden("Q5_K_M"));
        GgufImporter.Write(_folder["out"], file, type, maxShardBytes: 1 << 20);
        using var folder = CheckpointDirectory.Open(_folder["out"]);
        Assert.Equal(file.Config with { EosTokenIds = folder.Config.EosTokenIds }, folder.Config);
        Assert.Equal(file.Config.EosTokenIds, folder.Config.EosTokenIds);
        Assert.True(folder.WeightFiles.Count > 1);
        foreach (var (name, info) in file.Tensors)
        {
            Assert.Equal(type ?? ScalarType.Float32, folder.Tensors[name].Type);
            using var value = folder.Open(name);
            Near.AssertRelative(file.Weights.Open(name), value, tolerance, name);
        }
        Assert.Contains(
            type == ScalarType.BFloat16 ? "\"bfloat16\""
                : type == ScalarType.Float16 ? "\"float16\""
                : "\"float32\"",
            folder.ConfigText
        );
        var tokenizer = TokenizerLoader.Load(_folder["out"]);
        foreach (var text in (string[])["Once upon a time", "", " a  b\n", "<s>x</s>", "\u00e9\u4e2d"])
        {
            Assert.Equal(file.Tokenizer!.Encode(text, addSpecial: true), tokenizer.Encode(text, addSpecial: true));
            Assert.Equal(file.Tokenizer.Encode(text, parseSpecial: true), tokenizer.Encode(text, parseSpecial: true));
        }
    }

    [Fact]
    public void Half_types_are_the_mapped_file_and_imported_as_they_are()
    {
        using var file = GgufModel.Open(Golden("BF16"));
        Assert.Equal(ScalarType.BFloat16, file.Tensors["model.layers.0.mlp.up_proj.weight"].Type);
        GgufImporter.Write(_folder["out"], file);
        using var folder = CheckpointDirectory.Open(_folder["out"]);
        Assert.Equal(ScalarType.BFloat16, folder.Tensors["model.layers.0.self_attn.q_proj.weight"].Type);
        Assert.Equal(ScalarType.Float32, folder.Tensors["model.norm.weight"].Type);
        using var model = ModelLoader.Load(folder.Config, folder);
        var expected = JsonNode.Parse(File.ReadAllText(SharedMaterial.Shared("goldens", "gguf", "expected.json")))!["BF16"]!;
        Assert.Equal((double)expected["loss"]!, Loss(model, GoldenIds()), 2e-6);
    }

    // A file of 7 billion weights at random is opened by its header alone.
    [Fact]
    public void Seven_billion_weights_open_by_their_header()
    {
        const int width = 4096,
            mlp = 11008,
            vocabulary = 32000,
            layers = 32;
        var file = new GgufBytes();
        file.Key("general.architecture", "llama")
            .Key("llama.context_length", 4096u)
            .Key("llama.embedding_length", (uint)width)
            .Key("llama.block_count", (uint)layers)
            .Key("llama.feed_forward_length", (uint)mlp)
            .Key("llama.attention.head_count", 32u)
            .Key("llama.attention.layer_norm_rms_epsilon", 1e-5f)
            .Key("tokenizer.ggml.model", "no_vocab");
        var sizes = new List<(string Name, long Columns, long Rows)>
        {
            ("token_embd.weight", width, vocabulary),
            ("output.weight", width, vocabulary),
            ("output_norm.weight", width, 0),
        };
        for (var i = 0; i < layers; i++)
        {
            sizes.AddRange([($"blk.{i}.attn_norm.weight", width, 0), ($"blk.{i}.ffn_norm.weight", width, 0)]);
            foreach (var name in (string[])["attn_q", "attn_k", "attn_v", "attn_output"])
                sizes.Add(($"blk.{i}.{name}.weight", width, width));
            sizes.AddRange([
                ($"blk.{i}.ffn_gate.weight", width, mlp),
                ($"blk.{i}.ffn_up.weight", width, mlp),
                ($"blk.{i}.ffn_down.weight", mlp, width),
            ]);
        }
        var offsets = new List<long>();
        var total = 0L;
        foreach (var (name, columns, rows) in sizes)
        {
            offsets.Add(total);
            total += rows == 0 ? 4 * columns : GgufFormat.Padded(columns * rows / 256 * 144);
            if (rows == 0)
                file.Tensor(name, (int)GgufType.F32, [], columns);
            else
                file.Tensor(name, (int)GgufType.Q4_K, [], columns, rows);
        }
        file.Offset = (i, _) => offsets[i];
        var header = file.Build();
        using (var stream = File.Create(_folder["a.gguf"]))
        {
            stream.Write(header);
            stream.SetLength(header.Length + total); // holes: no bytes on the disk
        }
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        using var model = GgufModel.Open(_folder["a.gguf"]);
        using var described = ModelLoader.Describe(model.Config);
        Assert.InRange(described.Weights.Sum(w => w.ElementCount), 6_700_000_000, 6_800_000_000);
        Assert.Equal(described.Weights.Select(w => w.Name).Order(), model.Tensors.Keys.Order());
        Assert.InRange(model.StoredBytes, 3_700_000_000, 3_900_000_000);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - allocated, 0, 64 << 20); // headers alone
    }
}
