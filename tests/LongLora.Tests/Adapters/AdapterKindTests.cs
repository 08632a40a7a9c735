using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Export;
using LongLora.Layers;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;
using LongLora.Runtime;
using LongLora.Tests.Models;
using LongLora.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace LongLora.Tests.Adapters;

/// <summary>New adapters of every kind: where they begin, how they are trained, and what is saved of them.</summary>
public sealed class AdapterKindTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static ModelConfig Config(string family) =>
        LlamaGoldenTests.TinyConfig with
        {
            ModelType = family,
            KeyValueHeadCount = family == "gpt_neox" ? 4 : 2,
            Activation = family == "gpt_neox" ? "gelu" : "silu",
            ParallelResidual = family == "gpt_neox",
            AttentionBias = family is "gpt_neox" or "qwen2",
            RopeScaling = new(),
            MaxPositions = 64,
        };

    private static CausalLanguageModel Create(string family, QuantizationKind quantization = QuantizationKind.None)
    {
        var model = ModelLoader.Create(Config(family), 5, quantization: quantization);
        using var generator = new Generator(8, CPU);
        foreach (var weight in model.Weights.Where(w => w.Name.EndsWith(".bias", StringComparison.Ordinal)))
            weight.Value.normal_(0, 0.1, generator);
        return model;
    }

    private static readonly string[] s_targets = [AdapterOptions.AllLayers];

    private static Tensor Ids(int rows = 2, int length = 50) =>
        arange(0, rows * length, ScalarType.Int64).mul(37).remainder(128).view(rows, length);

    private static Tensor Logits(CausalLanguageModel model)
    {
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        return model.ComputeLogits(Ids(), new ForwardContext(new FullAttention(), positions));
    }

    private static void Disturb(AdapterSet set)
    {
        using var noGradient = no_grad();
        foreach (var adapter in set.Adapters.Values)
        {
            adapter.A.Value.add_(randn_like(adapter.A.Value).mul_(0.05));
            adapter.B.Value.add_(randn_like(adapter.B.Value).mul_(0.05));
            if (adapter is DoraAdapter dora)
                dora.Magnitude.Value.mul_(randn_like(dora.Magnitude.Value).mul_(0.2).add_(1));
        }
    }

    [Theory]
    [InlineData(AdapterKind.Lora, true, 0, "llama")]
    [InlineData(AdapterKind.Dora, false, 0, "llama")]
    [InlineData(AdapterKind.Dora, true, 0, "gpt_neox")]
    [InlineData(AdapterKind.Pissa, false, 0, "llama")]
    [InlineData(AdapterKind.Pissa, true, 2, "phi3")]
    [InlineData(AdapterKind.Pissa, false, 0, "qwen2")]
    public void Adapter_begins_at_the_base_and_is_the_same_after_saving(AdapterKind kind, bool stabilized, int iterations, string family)
    {
        using var scope = NewDisposeScope();
        var options = new AdapterOptions
        {
            Rank = 4,
            Alpha = 12,
            Kind = kind,
            RankStabilized = stabilized,
            PissaIterations = iterations,
            TargetModules = s_targets,
        };
        Tensor logits;
        using (var model = Create(family))
        {
            var plain = Logits(model);
            using var set = AdapterSet.Attach(model, options, 3);
            var begun = Logits(model);
            if (kind == AdapterKind.Pissa)
                Near.AssertRelative(plain, begun, 1e-5, "PiSSA begins at the base");
            else
                Assert.Equal(0, Near.Difference(plain, begun));
            Disturb(set);
            logits = Logits(model);
            Assert.True(Near.Difference(plain, logits) > 1e-2, "the changed adapter changes nothing");
            PeftFormat.Write(_folder.Root, set, model, "base");
            foreach (var layer in model.Linears.Where(l => l.Update is not null))
                AssertMerged(layer);
        }

        var config = JsonNode.Parse(File.ReadAllText(_folder["adapter_config.json"]))!;
        var (rank, alpha) = kind == AdapterKind.Pissa ? (8, stabilized ? 12 * Math.Sqrt(2) : 24.0) : (4, 12.0);
        Assert.Equal((rank, alpha), ((int)config["r"]!, (double)config["lora_alpha"]!));
        Assert.Equal(kind == AdapterKind.Dora, config["use_dora"] is not null);
        Assert.Equal(stabilized, config["use_rslora"] is not null);
        Assert.Equal("true", config["init_lora_weights"]!.ToJsonString());
        using var again = Create(family);
        using var read = PeftFormat.Attach(_folder.Root, again);
        Assert.Equal(kind == AdapterKind.Dora ? AdapterKind.Dora : AdapterKind.Lora, read.Options.Kind);
        if (kind == AdapterKind.Pissa)
            Near.AssertRelative(logits, Logits(again), 1e-5, "read back");
        else
            Assert.Equal(0, Near.Difference(logits, Logits(again)));
    }

    // x W'ᵀ + b' is what the layer computes.
    private static void AssertMerged(LinearLayer layer)
    {
        var rows = randn(7, layer.InputSize);
        var expected = rows.mm(layer.Merge().t());
        if (layer.Projection.Bias is { } bias)
            expected += bias.Value;
        using (no_grad())
            Near.AssertRelative(expected, layer.Forward(rows), 1e-5, layer.Name);
    }

    [Theory]
    [InlineData(AdapterKind.Lora, "llama", QuantizationKind.None)]
    [InlineData(AdapterKind.Dora, "llama", QuantizationKind.None)]
    [InlineData(AdapterKind.Dora, "qwen3", QuantizationKind.None)]
    [InlineData(AdapterKind.Dora, "phi3", QuantizationKind.Nf4)]
    [InlineData(AdapterKind.Dora, "gpt_neox", QuantizationKind.Int8)]
    [InlineData(AdapterKind.Dora, "qwen2", QuantizationKind.None)]
    [InlineData(AdapterKind.Pissa, "llama", QuantizationKind.None)]
    [InlineData(AdapterKind.Pissa, "phi3", QuantizationKind.None)]
    [InlineData(AdapterKind.Pissa, "gpt_neox", QuantizationKind.Nf4)]
    public void Lean_walk_equals_plain_autograd(AdapterKind kind, string family, QuantizationKind quantization)
    {
        using var scope = NewDisposeScope();
        using var model = Create(family, quantization);
        var options = new AdapterOptions
        {
            Kind = kind,
            RankStabilized = kind == AdapterKind.Lora,
            TargetModules = s_targets,
        };
        using var set = AdapterSet.Attach(model, options, 3);
        Disturb(set);
        using var parameters = new ParameterBuffer(set.Weights);
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        var context = new ForwardContext(new ShiftedSparseAttention(16), positions);
        var (ids, targets) = (Ids(), LlamaGoldenTests.Targets(Ids()));
        PlainPass.Loss(model, ids, targets, context).backward();
        var plain = parameters.Gradients.clone();
        foreach (var blocks in new[] { 1, 2 })
        {
            parameters.ClearGradients();
            using var pass = new CheckpointedPass(model, blocks);
            pass.ForwardBackward(ids, targets, context, 1.0 / 98).Dispose();
            foreach (var (name, offset, shape) in parameters.Layout)
            {
                var size = shape.Aggregate(1L, (product, s) => product * s);
                Near.AssertRelative(plain.narrow(0, offset, size), parameters.Gradients.narrow(0, offset, size), 1e-4, name);
            }
            Near.AssertRelative(plain, parameters.Gradients, 1e-5, $"{blocks} blocks a segment");
        }
    }

    // Heads in several passes, several tiles of the MLP.
    [Theory]
    [InlineData(AdapterKind.Dora)]
    [InlineData(AdapterKind.Pissa)]
    public void Lean_walk_in_many_pieces_equals_plain_autograd(AdapterKind kind)
    {
        using var scope = NewDisposeScope();
        const int length = 6000;
        var config = LlamaGoldenTests.TinyConfig with
        {
            HiddenSize = 512,
            HeadSize = 64,
            HeadCount = 8,
            KeyValueHeadCount = 8,
            IntermediateSize = 600,
            MaxPositions = length,
            LayerCount = 1,
        };
        using var model = ModelLoader.Create(config, 1);
        using var set = AdapterSet.Attach(
            model,
            new AdapterOptions
            {
                Kind = kind,
                TargetModules = s_targets,
                PissaIterations = kind == AdapterKind.Pissa ? 1 : 0,
            },
            3
        );
        Disturb(set);
        using var parameters = new ParameterBuffer(set.Weights);
        var ids = Ids(1, length);
        using var positions = RotaryEmbedding.Create(config, length);
        var context = new ForwardContext(new ShiftedSparseAttention(256), positions);
        using (var inner = NewDisposeScope())
            PlainPass.Loss(model, ids, LlamaGoldenTests.Targets(ids), context).backward();
        var plain = parameters.Gradients.clone();
        parameters.ClearGradients();
        using var pass = new CheckpointedPass(model);
        pass.ForwardBackward(ids, LlamaGoldenTests.Targets(ids), context, 1.0 / (length - 1)).Dispose();
        Near.AssertRelative(plain, parameters.Gradients, 1e-5);
    }

    [Theory]
    [InlineData(AdapterKind.Dora)]
    [InlineData(AdapterKind.Pissa)]
    public void Steps_leave_no_tensors_behind_and_norms_follow_the_weights(AdapterKind kind)
    {
        using var model = Create("qwen2");
        using var set = AdapterSet.Attach(model, new AdapterOptions { Kind = kind, TargetModules = s_targets }, 3);
        Logits(model).Dispose(); // norms of what is not yet trained must not stay
        using var parameters = new ParameterBuffer(set.Weights);
        using var optimizer = new AdamW(parameters, new AdamWOptions());
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        var context = new ForwardContext(new ShiftedSparseAttention(16), positions);
        using var pass = new CheckpointedPass(model);
        static long Live() => DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        using var ids = Ids();
        using var targets = LlamaGoldenTests.Targets(ids);
        void Step()
        {
            using var scope = NewDisposeScope();
            pass.ForwardBackward(ids, targets, context, 1.0 / 98).Dispose();
            optimizer.Step(1e-2, parameters.ComputeGradientNorm());
        }
        Step();
        var before = Live();
        for (var i = 0; i < 10; i++)
            Step();
        Assert.Equal(before, Live());
        using var end = NewDisposeScope();
        foreach (var layer in model.Linears.Where(l => l.Update is not null))
        {
            AssertMerged(layer);
            if (layer.Update is not DoraAdapter dora)
                continue;
            // V written out.
            var v = layer.Projection.ToDense() + dora.B.Value.mm(dora.A.Value) * dora.Scale;
            var expected = v * (dora.Magnitude.Value / v.pow(2).sum(1).sqrt()).unsqueeze(1);
            Near.AssertRelative(expected, layer.Merge(), 1e-5, layer.Name);
        }
    }

    [Fact]
    public void PiSSA_begins_at_the_best_approximation_of_its_rank()
    {
        using var scope = NewDisposeScope();
        var matrix = randn(40, 60).mm(diag(linspace(2, 0.01, 60))).mm(randn(60, 60));
        var (u, s, v) = linalg.svd(matrix, false);
        var best = u[.., ..5].mm(diag(s[..5])).mm(v[..5, ..]);
        var optimum = (matrix - best).pow(2).sum().sqrt().item<float>();
        foreach (var (iterations, worse) in new[] { (0, 1.00001), (2, 1.02), (8, 1.001) })
        {
            var (a, b) = LoraStart.Pissa(matrix, 5, 1.7, iterations, 11);
            Assert.Equal([5, 60], a.shape);
            Assert.Equal([40, 5], b.shape);
            var distance = (matrix - b.mm(a) * 1.7).pow(2).sum().sqrt().item<float>();
            Assert.InRange(distance, optimum * 0.99999, optimum * worse);
            var (again, _) = LoraStart.Pissa(matrix, 5, 1.7, iterations, 11);
            Assert.Equal(0, Near.Difference(a, again));
        }
        var (r, q) = LoraStart.Olora(matrix, 5);
        Near.AssertRelative(matrix[.., ..5], q.mm(r)[.., ..5], 1e-5, "OLoRA has the first columns whole");
        Near.AssertRelative(eye(5), q.t().mm(q), 1e-5, "and orthogonal columns");
    }

    [Fact]
    public void Rank_beyond_the_matrix_is_refused_by_PiSSA()
    {
        using var model = Create("llama");
        var options = new AdapterOptions
        {
            Kind = AdapterKind.Pissa,
            Rank = 33,
            TargetModules = ["k_proj"],
        };
        Assert.Contains("rank is 33", Assert.Throws<ConfigurationException>(() => AdapterSet.Attach(model, options, 1)).Message);
    }

    [Fact]
    public void Raw_adapter_is_refused_on_a_quantized_base()
    {
        var folder = CheckpointDirectory.Open(SharedMaterial.Golden("llama_tiny"));
        using var model = ModelLoader.Load(folder.Config, folder, null, QuantizationKind.Nf4);
        var told = Assert.Throws<CheckpointException>(() => PeftFormat.Attach(PeftGoldenTests.Folder("pissa_raw"), model)).Message;
        Assert.Contains("'init_lora_weights'", told);
        using var converted = PeftFormat.Attach(PeftGoldenTests.Folder("pissa_converted"), model);
        Assert.Equal(8, converted.Adapters.Count);
    }

    [Fact]
    public void Formats_of_matrices_alone_refuse_what_is_more()
    {
        foreach (var kind in new[] { "dora", "lora_bias", "lora_embedding", "trainable_tokens" })
        {
            using var model = PeftGoldenTests.Base("", out _);
            using var set = PeftFormat.Attach(PeftGoldenTests.Folder(kind), model);
            Assert.Contains(
                "only LoRA matrices",
                Assert.Throws<ConfigurationException>(() => LongLoraPair.Write(_folder.Root, set, model, "base", false)).Message
            );
        }
        using var other = PeftGoldenTests.Base("", out _);
        using var scaled = PeftFormat.Attach(PeftGoldenTests.Folder("lora_rslora"), other);
        Assert.Contains(
            "alpha / r",
            Assert.Throws<ConfigurationException>(() => LongLoraPair.Write(_folder.Root, scaled, other, "base", false)).Message
        );
    }

    [Theory]
    [InlineData("lora_rslora")]
    [InlineData("rank_alpha_pattern")]
    [InlineData("pissa_raw")]
    public void Gguf_adapter_has_the_scale_of_each_layer(string kind)
    {
        using var scope = NewDisposeScope();
        using var model = PeftGoldenTests.Base("", out _);
        using var set = PeftFormat.Attach(PeftGoldenTests.Folder(kind), model);
        var file = GgufExporter.WriteAdapter(_folder["a.gguf"], set, model, GgufFileType.F32);
        var alpha = file.Get<float>("adapter.lora.alpha");
        foreach (var (name, adapter) in set.Adapters.Where(a => a.Key.EndsWith("v_proj", StringComparison.Ordinal)))
        {
            var weight = GgufArchitecture.Of(model.Config).TensorName(name + ".weight");
            var (a, b) = (file.Open(weight + ".lora_a"), file.Open(weight + ".lora_b"));
            Near.AssertEqual(adapter.Delta(), b.mm(a) * (alpha / a.size(0)), 1e-6, name);
        }
    }

    [Theory]
    [InlineData(AdapterKind.Dora)]
    [InlineData(AdapterKind.Pissa)]
    public void Planned_bytes_are_those_of_the_trained_weights(AdapterKind kind)
    {
        using var model = Create("llama");
        var options = new AdapterOptions
        {
            Kind = kind,
            Rank = 4,
            TargetModules = s_targets,
        };
        var plan = StepMemory.Count(
            model,
            new FullAttention(),
            50,
            new StepMemoryOptions { Tuning = options, StoredType = ScalarType.Float32 }
        );
        using var set = AdapterSet.Attach(model, options, 1);
        Assert.Equal(set.Weights.Sum(w => w.ElementCount) * 4, plan.Trained);
        var frozen = set.Adapters.Values.Sum(a => (a.PlainRank - 4) * (a.A.Shape[1] + a.B.Shape[0]));
        Assert.Equal((model.Weights.Sum(w => w.ElementCount) + frozen) * 4, plan.Weights);
    }

    // What a GPU computes in, here on the CPU.
    [Theory]
    [InlineData("dora", "")]
    [InlineData("dora_biased_base", "base_biased")]
    [InlineData("pissa_raw", "")]
    [InlineData("lora_bias", "")]
    [InlineData("lora_embedding", "")]
    [InlineData("trainable_tokens_both", "")]
    [InlineData("tied_lora_embedding_ensured", "base_tied")]
    [InlineData("tied_trainable_tokens", "base_tied")]
    public void Step_in_bf16_is_near_the_one_in_fp32(string kind, string basis)
    {
        using var scope = NewDisposeScope();
        using var model = PeftGoldenTests.Base(basis, out _);
        using var set = PeftFormat.Attach(PeftGoldenTests.Folder(kind), model);
        using var parameters = new ParameterBuffer(set.Weights);
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        var context = new ForwardContext(new ShiftedSparseAttention(16), positions);
        var gradients = new List<Tensor>();
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16 })
        {
            model.ComputeType = type;
            parameters.ClearGradients();
            using var pass = new CheckpointedPass(model);
            pass.ForwardBackward(Ids(), LlamaGoldenTests.Targets(Ids()), context, 1.0 / 98).Dispose();
            gradients.Add(parameters.Gradients.clone());
        }
        var distance = (gradients[1] - gradients[0]).pow(2).sum().sqrt() / gradients[0].pow(2).sum().sqrt();
        Assert.InRange(distance.item<float>(), 1e-5, 0.05);
    }

    [Fact]
    public void Gguf_model_has_a_head_of_its_own_where_it_is_tied_no_more()
    {
        using var scope = NewDisposeScope();
        foreach (var (kind, own) in new[] { ("tied_modules_to_save", true), ("tied_trainable_tokens", false) })
        {
            using var golden = GoldenTensors.Read(Path.Combine(PeftGoldenTests.Folder(kind), "golden.safetensors"));
            using var model = PeftGoldenTests.Base("base_tied", out var origin);
            using var set = PeftFormat.Attach(PeftGoldenTests.Folder(kind), model);
            var file = GgufExporter.Write(_folder[kind], model, origin, GgufFileType.F32, withTokenizer: false);
            Assert.Equal(own, file.Tensors.ContainsKey("output.weight"));
            Near.AssertEqual(golden["merged.model.embed_tokens.weight"], file.Open("token_embd.weight"), 1e-6, kind);
        }
    }

    // Gemma multiplies the rows of its table, changed or not, and ties the head to it.
    [Theory]
    [InlineData("gemma2", "'target_modules': ['embed_tokens']", false)]
    [InlineData("gemma2", "'target_modules': ['embed_tokens'], 'ensure_weight_tying': true", true)]
    [InlineData("gemma3_text", "'target_modules': ['q_proj'], 'trainable_token_indices': [3, 5, 1]", true)]
    [InlineData("granite", "'target_modules': ['q_proj'], 'trainable_token_indices': [3, 5, 1]", true)]
    public void Changed_rows_of_a_table_with_a_factor_are_multiplied_too(string family, string fields, bool staysTied)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(6, CPU);
        var path = FamilyContractTests.Locate(_folder, family);
        CausalLanguageModel Open(string from, out CheckpointDirectory folder)
        {
            folder = CheckpointDirectory.Open(from);
            return ModelLoader.Load(folder.Config, folder);
        }
        using var model = Open(path, out var origin);
        var tensors = new Dictionary<string, Tensor>();
        void Add(string name, params long[] shape) => tensors.Add("base_model.model." + name, randn(shape, generator: generator).mul(0.1));
        var (table, rows, width) = (model.Embedding.Weight.Name[..^7], model.Embedding.Weight.Shape[0], model.Embedding.Weight.Shape[1]);
        if (fields.Contains("embed_tokens", StringComparison.Ordinal))
        {
            Add(table + ".lora_embedding_A", 4, rows);
            Add(table + ".lora_embedding_B", width, 4);
        }
        else
        {
            Add(table + ".token_adapter.trainable_tokens_delta", 3, width);
            foreach (var layer in model.Linears.Where(l => l.Name.EndsWith("q_proj", StringComparison.Ordinal)))
            {
                Add(layer.Name + ".lora_A.weight", 4, layer.InputSize);
                Add(layer.Name + ".lora_B.weight", layer.OutputSize, 4);
            }
        }
        SafetensorsWriter.Write(_folder["adapter_model.safetensors"], [.. tensors.Select(t => TensorToWrite.Of(t.Key, t.Value))]);
        var config = $"{{'peft_type': 'LORA', 'r': 4, 'lora_alpha': 8, {fields}}}";
        _folder.Text("adapter_config.json", config.Replace('\'', '"'));
        using var set = PeftFormat.Attach(_folder.Root, model);
        Assert.Equal(staysTied, model.IsHeadTied);

        var ids = Ids().remainder(rows);
        using var positions = RotaryEmbedding.Create(model.Config, 50);
        var context = new ForwardContext(new ShiftedSparseAttention(16), positions);
        var logits = model.ComputeLogits(ids, context);
        HuggingFaceExporter.Write(_folder["merged"], model, origin);
        using (var merged = Open(_folder["merged"], out _))
        {
            Assert.Equal(staysTied, merged.Config.TiedEmbeddings);
            Near.AssertRelative(logits, merged.ComputeLogits(ids, context), 1e-5, "merged");
        }

        using var parameters = new ParameterBuffer(set.Weights);
        var targets = LlamaGoldenTests.Targets(ids);
        PlainPass.Loss(model, ids, targets, context).backward();
        var plain = parameters.Gradients.clone();
        parameters.ClearGradients();
        using var pass = new CheckpointedPass(model);
        pass.ForwardBackward(ids, targets, context, 1.0 / 98).Dispose();
        Near.AssertRelative(plain, parameters.Gradients, 1e-5);
    }

    [Fact]
    public void Experts_in_another_layout_are_refused_by_name()
    {
        var path = FamilyContractTests.Locate(_folder, "gpt_oss");
        var folder = CheckpointDirectory.Open(path);
        using var model = ModelLoader.Load(folder.Config, folder);
        var told = Assert.Throws<CheckpointException>(() => PeftFormat.Attach(PeftGoldenTests.Folder("target_parameters"), model)).Message;
        Assert.Contains("'target_parameters'", told);
    }

    [Theory]
    [InlineData("mixtral")]
    [InlineData("qwen3_moe")]
    public void Magnitudes_and_residuals_of_experts_train_as_plain_autograd_has_it(string family)
    {
        foreach (var kind in new[] { AdapterKind.Dora, AdapterKind.Pissa })
        {
            using var scope = NewDisposeScope();
            var folder = CheckpointDirectory.Open(FamilyContractTests.Locate(_folder, family));
            using var model = ModelLoader.Load(folder.Config, folder);
            using var set = AdapterSet.Attach(
                model,
                new AdapterOptions
                {
                    Rank = 4,
                    Kind = kind,
                    TargetModules = s_targets,
                },
                3
            );
            Disturb(set);
            using var parameters = new ParameterBuffer(set.Weights);
            using var positions = RotaryEmbedding.Create(model.Config, 50);
            var context = new ForwardContext(new ShiftedSparseAttention(16), positions);
            var (ids, targets) = (
                Ids().remainder(model.Config.VocabularySize),
                LlamaGoldenTests.Targets(Ids().remainder(model.Config.VocabularySize))
            );
            PlainPass.Loss(model, ids, targets, context).backward();
            var plain = parameters.Gradients.clone();
            parameters.ClearGradients();
            using var pass = new CheckpointedPass(model);
            pass.ForwardBackward(ids, targets, context, 1.0 / 98).Dispose();
            Near.AssertRelative(plain, parameters.Gradients, 1e-5, $"{family}, {kind}");
        }
    }
}
