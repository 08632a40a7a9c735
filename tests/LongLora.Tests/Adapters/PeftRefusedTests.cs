using System.Text.Json.Nodes;
using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Checkpoints;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Adapters;

/// <summary>What changes the numbers and is not supported is refused by its name, before any weight is read.</summary>
public sealed class PeftRefusedTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("adalora", "ADALORA")]
    [InlineData("boft", "BOFT")]
    [InlineData("delora", "DELORA")]
    [InlineData("fourierft", "FOURIERFT")]
    [InlineData("hra", "HRA")]
    [InlineData("ia3", "IA3")]
    [InlineData("ln_tuning", "LN_TUNING")]
    [InlineData("loha", "LOHA")]
    [InlineData("lokr", "LOKR")]
    [InlineData("lora_alora", "alora_invocation_tokens")]
    [InlineData("lora_bdlora", "use_bdlora")]
    [InlineData("lora_corda", "corda")]
    [InlineData("lora_kasa", "kasa_config")]
    [InlineData("lora_layer_replication", "layer_replication")]
    [InlineData("lora_loftq", "loftq")]
    [InlineData("lora_lora_ga", "lora_ga")]
    [InlineData("lora_monteclora", "monteclora_config")]
    [InlineData("lora_pissa_niter", "pissa_niter_4")]
    [InlineData("miss", "MISS")]
    [InlineData("oft", "OFT")]
    [InlineData("p_tuning", "P_TUNING")]
    [InlineData("prefix_tuning", "PREFIX_TUNING")]
    [InlineData("prompt_tuning", "PROMPT_TUNING")]
    [InlineData("randlora", "RANDLORA")]
    [InlineData("trainable_tokens", "TRAINABLE_TOKENS")]
    [InlineData("vblora", "VBLORA")]
    [InlineData("vera", "VERA")]
    [InlineData("vera_no_projection", "VERA")]
    public void Kind_is_refused_by_name_without_its_weights(string kind, string name)
    {
        // The config alone: whoever opened the weights would complain of the missing file.
        File.Copy(Path.Combine(PeftGoldenTests.Folder("refused"), kind, "adapter_config.json"), _folder["adapter_config.json"]);
        Assert.Contains(name, Assert.Throws<CheckpointException>(() => PeftFormat.RequireSupported(_folder.Root)).Message);
        using var model = PeftGoldenTests.Base("", out _);
        Assert.Contains(name, Assert.Throws<CheckpointException>(() => PeftFormat.Attach(_folder.Root, model)).Message);
    }

    [Fact]
    public void Every_refused_golden_is_looked_at()
    {
        var kinds = Directory.GetDirectories(PeftGoldenTests.Folder("refused")).Select(Path.GetFileName).ToHashSet();
        var looked = typeof(PeftRefusedTests)
            .GetMethod(nameof(Kind_is_refused_by_name_without_its_weights))!
            .GetCustomAttributes(typeof(InlineDataAttribute), false)
            .Select(a => (string)((InlineDataAttribute)a).Data[0]!);
        Assert.Empty(kinds.Except(looked));
    }

    [Theory]
    [InlineData("init_lora_weights", "\"lora_of_tomorrow\"")]
    [InlineData("init_lora_weights", "3")]
    [InlineData("use_something_new", "true")]
    [InlineData("new_pattern", "{\"q_proj\": 3}")]
    [InlineData("scaling_mode", "\"other\"")]
    [InlineData("fan_in_fan_out", "true")]
    [InlineData("use_qalora", "true")]
    [InlineData("arrow_config", "{\"top_k\": 3}")]
    [InlineData("velora_config", "{\"groups\": 4}")]
    [InlineData("use_rslora", "\"yes\"")]
    [InlineData("bias", "\"some\"")]
    [InlineData("rank_pattern", "{\"q_proj\": \"4\"}")]
    [InlineData("alpha_pattern", "{\"q_proj(\": 4}")]
    [InlineData("layers_to_transform", "[\"1\"]")]
    [InlineData("target_modules", "\"(q_proj\"")]
    [InlineData("modules_to_save", "\"lm_head\"")]
    [InlineData("trainable_token_indices", "[3, 3]")]
    [InlineData("trainable_token_indices", "{\"lm_had\": [3]}")]
    [InlineData("trainable_token_indices", "[128]")]
    [InlineData("lora_alpha", "0")]
    [InlineData("target_parameters", "[\"mlp.experts.gate_up_proj\"]")]
    public void Field_is_refused_by_name(string field, string value)
    {
        var config = Config();
        config[field] = JsonNode.Parse(value);
        Assert.Contains($"'{field}'", Refusal(config));
    }

    [Theory]
    [InlineData("use_dora", "lora_bias")]
    [InlineData("use_dora", "init_lora_weights")]
    [InlineData("lora_bias", "init_lora_weights")]
    public void Options_that_do_not_go_together_are_refused_by_name(string first, string second)
    {
        var config = Config();
        foreach (var name in new[] { first, second })
            config[name] = name == "init_lora_weights" ? "pissa" : true;
        Assert.Contains($"'{second}'", Refusal(config).Replace($"'{first}'", $"'{second}'", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("new_config", "null")]
    [InlineData("use_new", "false")]
    [InlineData("new_pattern", "{}")]
    [InlineData("peft_version", "\"9.0\"")]
    [InlineData("lora_dropout", "0.25")]
    public void Field_that_says_nothing_of_the_numbers_is_taken(string field, string value)
    {
        var config = Config();
        config[field] = JsonNode.Parse(value);
        Copy(config, _ => true);
        using var model = PeftGoldenTests.Base("", out _);
        using var set = PeftFormat.Attach(_folder.Root, model);
        Assert.Equal(8, set.Adapters.Count);
    }

    [Theory]
    [InlineData("lora_eva")]
    [InlineData("lora_gaussian")]
    [InlineData("lora_mica")]
    [InlineData("lora_orthogonal")]
    public void Start_that_leaves_the_base_alone_is_plain_LoRA(string kind)
    {
        using var scope = NewDisposeScope();
        var folder = PeftGoldenTests.Folder(Path.Combine("plain", kind));
        using var file = GoldenTensors.Read(Path.Combine(folder, "adapter_model.safetensors"));
        using var model = PeftGoldenTests.Base("", out _);
        using var set = PeftFormat.Attach(folder, model);
        Assert.Equal(file.Names.Count(), 2 * set.Adapters.Count);
        foreach (var (name, adapter) in set.Adapters)
        {
            Tensor Stored(string part) => file[$"base_model.model.{name}.{part}.weight"];
            Near.AssertEqual(Stored("lora_B").mm(Stored("lora_A")) * 2, adapter.Delta(), 1e-6, name);
        }
    }

    [Theory]
    [InlineData("modules_to_save", "lm_head.weight", "modules_to_save", "lm_head.weight")]
    [InlineData("modules_to_save", "layers.1.input_layernorm.weight", "modules_to_save", "model.layers.1.input_layernorm.weight")]
    [InlineData("lora", "layers.1.self_attn.v_proj", "target_modules", "model.layers.1.self_attn.v_proj.lora_A.weight")]
    [InlineData("lora", "layers.0.self_attn.k_proj.lora_B", "target_modules", "model.layers.0.self_attn.k_proj.lora_B.weight")]
    [InlineData("dora", "o_proj.lora_magnitude_vector", "use_dora", "model.layers.0.self_attn.o_proj.lora_magnitude_vector")]
    [InlineData("lora_bias", "q_proj.lora_B.bias", "lora_bias", "model.layers.0.self_attn.q_proj.lora_B.bias")]
    [InlineData("trainable_tokens", "trainable_tokens_delta", "trainable_token_indices", "model.embed_tokens.token_adapter")]
    [InlineData("lora_embedding", "lora_embedding_B", "target_modules", "model.embed_tokens.lora_embedding_B")]
    public void Part_that_the_config_names_and_the_file_lacks_is_named(string kind, string lacking, string field, string told)
    {
        using var scope = NewDisposeScope();
        Copy(Config(kind), name => !name.Contains(lacking, StringComparison.Ordinal), kind);
        using var model = PeftGoldenTests.Base("", out _);
        var before = Logits(model);
        var message = Assert.Throws<CheckpointException>(() => PeftFormat.Attach(_folder.Root, model)).Message;
        Assert.Contains($"'{told}", message);
        Assert.Contains($"({field})", message);
        Assert.Contains("set allow-missing", message);
        Assert.Equal(0, Near.Difference(before, Logits(model))); // nothing was changed

        using var set = PeftFormat.Attach(_folder.Root, model, new AdapterReading { AllowMissing = true });
        Assert.Contains(set.Missing, name => name.StartsWith(told, StringComparison.Ordinal));
        Assert.True(Logits(model).isfinite().all().item<bool>());
        Assert.Contains(told, Assert.Throws<ConfigurationException>(() => PeftFormat.Write(_folder.Root, set, model, "base")).Message);
    }

    // Both are wrong with the adapter of another base; the shapes say why.
    [Theory]
    [InlineData("lora", "layers.1.self_attn.v_proj.lora_A")]
    [InlineData("lora", "layers.0.self_attn.k_proj.lora_B")]
    [InlineData("dora", "layers.0.self_attn.o_proj.lora_magnitude_vector")]
    [InlineData("lora_bias", "layers.0.self_attn.q_proj.lora_B.bias")]
    [InlineData("modules_to_save", "lm_head.weight")]
    [InlineData("modules_to_save", "layers.1.input_layernorm.weight")]
    [InlineData("trainable_tokens", "trainable_tokens_delta")]
    [InlineData("lora_embedding", "lora_embedding_A")]
    [InlineData("lora_embedding", "lora_embedding_B")]
    [InlineData("target_parameters", "lora_A")]
    [InlineData("target_parameters", "lora_B")]
    public void Adapter_of_a_base_with_other_sizes_is_told_apart_from_an_incomplete_one(string kind, string wider)
    {
        var config = Config(kind);
        config["base_model_name_or_path"] = "org/other-base";
        Copy(config, _ => true, kind, name => name.Contains(wider, StringComparison.Ordinal));
        using var model = PeftGoldenTests.Base(kind == "target_parameters" ? "base_moe" : "", out _);
        foreach (var isWhole in new[] { true, false })
        {
            if (!isWhole)
                Copy(
                    config,
                    name => !name.Contains("layers.1.self_attn.q_proj", StringComparison.Ordinal),
                    kind,
                    name => name.Contains(wider, StringComparison.Ordinal)
                );
            var reading = new AdapterReading { AllowMissing = !isWhole };
            foreach (var how in new[] { null, reading })
            {
                var message = Assert.Throws<CheckpointException>(() => PeftFormat.Attach(_folder.Root, model, how)).Message;
                Assert.Contains("but this model needs [", message);
                Assert.Contains("made for another base ('org/other-base')", message);
                Assert.DoesNotContain("incompletely", message);
            }
        }
    }

    [Fact]
    public void Adapter_without_the_last_layers_may_be_that_of_a_smaller_model()
    {
        var config = Config();
        config["base_model_name_or_path"] = "org/other-base";
        Copy(config, name => !name.Contains("layers.1.", StringComparison.Ordinal));
        using var model = PeftGoldenTests.Base("", out _);
        var message = Assert.Throws<CheckpointException>(() => PeftFormat.Attach(_folder.Root, model)).Message;
        Assert.Contains("nothing for the layers after 0", message);
        Assert.Contains("another base ('org/other-base')", message);
    }

    [Fact]
    public void Biases_that_are_missing_are_named()
    {
        Copy(Config("bias_all"), name => !name.EndsWith("gate_proj.bias", StringComparison.Ordinal), "bias_all");
        using var model = PeftGoldenTests.Base("base_biased", out _);
        var message = Assert.Throws<CheckpointException>(() => PeftFormat.Attach(_folder.Root, model)).Message;
        Assert.Contains("'model.layers.0.mlp.gate_proj.bias' (bias)", message);
        Assert.Contains("lacks 2 tensors", message);
    }

    // Such an adapter is relative to weights that nobody has here, or was hand-made.
    [Fact]
    public void Tensors_that_the_config_does_not_name_are_refused()
    {
        var config = Config();
        config["target_modules"] = new JsonArray("q_proj", "k_proj", "v_proj");
        Assert.Contains("o_proj.lora_A.weight", Refusal(config));
        using var model = PeftGoldenTests.Base("base_tied", out _);
        Assert.Contains(
            "differs from",
            Assert.Throws<CheckpointException>(() => PeftFormat.Attach(PeftGoldenTests.Folder("lora_embedding"), model)).Message
        );
    }

    private string Refusal(JsonObject config)
    {
        Copy(config, _ => true);
        using var model = PeftGoldenTests.Base("", out _);
        return Assert.Throws<CheckpointException>(() => PeftFormat.Attach(_folder.Root, model)).Message;
    }

    private void Copy(JsonObject config, Func<string, bool> keep, string kind = "lora", Func<string, bool>? widen = null)
    {
        _folder.Text("adapter_config.json", config.ToJsonString());
        using var file = new SafetensorsReader(Path.Combine(PeftGoldenTests.Folder(kind), "adapter_model.safetensors"));
        SafetensorsWriter.Write(
            _folder["adapter_model.safetensors"],
            [
                .. file
                    .Tensors.Values.Where(t => keep(t.Name))
                    .Select(t =>
                        widen?.Invoke(t.Name) == true
                            ? new TensorToWrite(t.Name, t.Type, [.. t.Shape.Select(s => 2 * s)], () => Widened(file.Open(t.Name)))
                            : new TensorToWrite(t.Name, t.Type, t.Shape, () => file.Open(t.Name).clone())
                    ),
            ]
        );
    }

    private static Tensor Widened(Tensor tensor) => tensor.repeat([.. tensor.shape.Select(_ => 2L)]);

    private static JsonObject Config(string kind = "lora") =>
        JsonNode.Parse(File.ReadAllText(Path.Combine(PeftGoldenTests.Folder(kind), "adapter_config.json")))!.AsObject();

    private static Tensor Logits(CausalLanguageModel model)
    {
        using var positions = RotaryEmbedding.Create(model.Config, 20);
        return model.ComputeLogits(arange(3, 23, ScalarType.Int64).view(1, 20), new ForwardContext(new FullAttention(), positions));
    }
}
