using System.Text.Json.Nodes;
using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Tests.Configs;

public class ModelConfigReaderTests
{
    private const string Small = """
        {"model_type":"llama","hidden_size":64,"intermediate_size":172,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":128,"max_position_embeddings":64}
        """;

    [Fact]
    public void ReadFile_real_checkpoint_gives_every_field()
    {
        var config = ModelConfigReader.ReadFile(SharedMaterial.Golden("stories260K-hf", "config.json"));
        Assert.Equal(
            new ModelConfig
            {
                ModelType = "llama",
                HiddenSize = 64,
                IntermediateSize = 172,
                LayerCount = 5,
                HeadCount = 8,
                KeyValueHeadCount = 4,
                HeadSize = 8,
                VocabularySize = 512,
                MaxPositions = 512,
                NormEpsilon = 1e-5,
                TiedEmbeddings = true,
                BosTokenId = 1,
                EosTokenIds = config.EosTokenIds,
            },
            config
        );
        Assert.Equal([2], config.EosTokenIds);
    }

    [Fact]
    public void Parse_absent_fields_have_transformers_defaults()
    {
        var config = ModelConfigReader.Parse(Small);
        Assert.Equal(4, config.KeyValueHeadCount);
        Assert.Equal(16, config.HeadSize);
        Assert.Equal(1e-6, config.NormEpsilon);
        Assert.Equal(10000, config.RopeTheta);
        Assert.Equal(RopeScalingConfig.None, config.RopeScaling);
        Assert.Equal("silu", config.Activation);
        Assert.False(config.TiedEmbeddings || config.AttentionBias || config.MlpBias);
        Assert.Null(config.BosTokenId);
        Assert.Empty(config.EosTokenIds);
    }

    [Fact]
    public void Parse_llama_31_as_published()
    {
        // The published config.json of Llama 3.1 8B Instruct.
        const string json = """
            {
              "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 128000,
              "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
              "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama", "num_attention_heads": 32,
              "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
              "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"},
              "rope_theta": 500000.0, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 128256
            }
            """;
        var config = ModelConfigReader.Parse(json);
        var published = PublishedConfigs.Find("llama-3.1-8b");
        Assert.Equal(published with { EosTokenIds = config.EosTokenIds }, config);
        Assert.Equal([128001, 128008, 128009], config.EosTokenIds);
    }

    [Theory]
    [InlineData("""{"type":"linear","factor":4}""", "linear", 4)]
    [InlineData("""{"rope_type":"linear","type":"linear","factor":4.0}""", "linear", 4)]
    [InlineData("""{"type":"dynamic","factor":2.0}""", "dynamic", 2)]
    [InlineData("""{"rope_type":"default"}""", "default", 1)]
    [InlineData(
        """{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":32}""",
        "llama3",
        8
    )]
    [InlineData(
        """{"type":"su","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[2,2,2,2,2,2,2,2],"original_max_position_embeddings":32}""",
        "longrope",
        1
    )]
    [InlineData(
        """{"rope_type":"yarn","factor":16.0,"original_max_position_embeddings":32,"attention_factor":1.1,"beta_fast":32,"beta_slow":1,"mscale":1.0,"mscale_all_dim":0,"truncate":false}""",
        "yarn",
        16
    )]
    public void Parse_rope_scaling_of_every_kind(string scaling, string kind, double factor)
    {
        foreach (var field in (string[])["rope_scaling", "rope_parameters"])
        {
            var read = ModelConfigReader.Parse(With(field, scaling)).RopeScaling;
            Assert.Equal(kind, read.Kind);
            Assert.Equal(factor, read.Factor);
            Assert.Equal(kind is "llama3" or "longrope" or "yarn" ? 32 : null, read.OriginalMaxPositions);
            if (kind == "yarn")
                Assert.Equal(
                    (1.1, 32.0, 1.0, 1.0, null, false),
                    (read.AttentionFactor, read.BetaFast, read.BetaSlow, read.Mscale, read.MscaleAllDim, read.Truncate)
                );
            if (kind == "longrope")
                Assert.Equal([2, 2, 2, 2, 2, 2, 2, 2], read.LongFactors);
        }
    }

    [Fact]
    public void Parse_rope_parameters_of_transformers_5_hold_theta()
    {
        Assert.Equal(5e5, ModelConfigReader.Parse(With("rope_parameters", """{"rope_theta":500000.0}""")).RopeTheta);
        var both = JsonNode.Parse(With("rope_parameters", """{"rope_theta":500000.0,"rope_type":"default"}"""))!;
        both["rope_theta"] = 1e6;
        Assert.Contains(
            "'rope_parameters.rope_theta' is 500000.0; it must equal rope_theta outside, which is 1000000.",
            Message(both.ToJsonString()),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void Parse_original_context_beside_the_scaling_counts_as_inside()
    {
        var json = JsonNode.Parse(With("rope_scaling", """{"type":"linear","factor":4.0}"""))!;
        json["original_max_position_embeddings"] = 16;
        Assert.Equal(16, ModelConfigReader.Parse(json.ToJsonString()).RopeScaling.OriginalMaxPositions);
        json["rope_scaling"]!["original_max_position_embeddings"] = 17;
        Assert.Contains(
            "'rope_scaling.original_max_position_embeddings' is 17; it must equal original_max_position_embeddings outside",
            Message(json.ToJsonString()),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("sliding_window", "4096", "unknown field for llama models: 'sliding_window' = 4096.")]
    [InlineData("logit_scale", "0.5", "'logit_scale' = 0.5.")]
    [InlineData("use_qk_norm", "true", "'use_qk_norm' = true.")]
    [InlineData("position_embedding_type", "\"alibi\"", "'position_embedding_type' = \"alibi\".")]
    [InlineData("moe", "{\"experts\":8}", "'moe' = {\"experts\":8}.")]
    [InlineData("num_key_value_head", "2", "'num_key_value_head' = 2. Did you mean 'num_key_value_heads'?")]
    [InlineData("hidden_size", "\"64\"", "'hidden_size' is \"64\"; it must be an integer of at least 1.")]
    [InlineData("hidden_size", "0", "'hidden_size' is 0; it must be an integer of at least 1.")]
    [InlineData("num_hidden_layers", "1000000000", "'num_hidden_layers' is 1000000000; it must be at most 4,096.")]
    [InlineData("hidden_size", "64.5", "'hidden_size' is 64.5; it must be an integer")]
    [InlineData("hidden_size", "66", "'hidden_size' is 66; it must be a multiple of num_attention_heads, 4, if there is no head_dim.")]
    [InlineData("head_dim", "15", "'head_dim' is 15; it must be even because RoPE rotates pairs of numbers, and a head has 15.")]
    [InlineData("num_key_value_heads", "3", "'num_key_value_heads' is 3; it must divide num_attention_heads, 4.")]
    [InlineData("rms_norm_eps", "0", "'rms_norm_eps' is 0; it must be a number above 0.")]
    [InlineData("rope_theta", "\"1e4\"", "'rope_theta' is \"1e4\"; it must be a number")]
    [InlineData("tie_word_embeddings", "1", "'tie_word_embeddings' is 1; it must be true or false.")]
    [InlineData("hidden_act", "\"gelu\"", "'hidden_act' is \"gelu\"; supported: silu.")]
    [InlineData("attention_dropout", "0.1", "'attention_dropout' is 0.1; only 0 is supported")]
    [InlineData("pretraining_tp", "2", "'pretraining_tp' is 2; only 1 is supported")]
    [InlineData("is_encoder_decoder", "true", "'is_encoder_decoder' is true; only false is supported")]
    [InlineData("partial_rotary_factor", "0.5", "'partial_rotary_factor' is 0.5; only 1 is supported")]
    [InlineData("quantization_config", "{\"quant_method\":\"awq\"}", "bitsandbytes quantized to nf4 or int8")]
    [InlineData("auto_map", "{\"AutoModel\":\"x.Y\"}", "needs its own Python code")]
    [InlineData("architectures", "[\"LlamaForSequenceClassification\"]", "it must name a language model (...ForCausalLM)")]
    [InlineData("model_type", "\"mamba\"", "'model_type' is \"mamba\"; supported: llama, mistral, qwen2, qwen3, phi3, gpt_neox, smollm3")]
    [InlineData("eos_token_id", "[2,-1]", "'eos_token_id' is -1; it must be an integer of at least 0")]
    public void Parse_wrong_or_unknown_field_is_named_with_its_value(string field, string value, string message)
    {
        var seen = Message(With(field, value));
        Assert.StartsWith("folder/config.json: ", seen, StringComparison.Ordinal);
        Assert.Contains(message, seen, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(
        """{"factor":4.0}""",
        "'rope_scaling.rope_type' is absent; it must be one of default, linear, dynamic, yarn, llama3, longrope."
    )]
    [InlineData("""{"type":"mrope","factor":4.0}""", "'rope_scaling.type' is \"mrope\"; supported: default, linear")]
    [InlineData(
        """{"type":"linear","rope_type":"yarn","factor":4.0}""",
        "'rope_scaling.type' is \"linear\"; it must equal rope_type, which is 'yarn'."
    )]
    [InlineData("""{"type":"linear"}""", "'rope_scaling.factor' is missing.")]
    [InlineData("""{"type":"linear","faktor":2}""", "'rope_scaling.factor' is missing. There is a 'faktor'.")]
    [InlineData("""{"type":"linear","factor":0.5}""", "'rope_scaling.factor' is 0.5; it must be a number of at least 1.")]
    [InlineData("""{"type":"linear","factor":2,"beta_fast":32}""", "unknown field for 'linear' scaling: 'rope_scaling.beta_fast' = 32.")]
    [InlineData("""{"type":"default","factor":2.0}""", "unknown field for 'default' scaling: 'rope_scaling.factor' = 2.0.")]
    [InlineData("""{"type":"yarn","factor":2,"beta_fast":1,"beta_slow":2}""", "'rope_scaling.beta_fast' is 1; it must be above beta_slow.")]
    [InlineData(
        """{"type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4}""",
        "'rope_scaling.original_max_position_embeddings' is absent; llama3 requires it."
    )]
    [InlineData(
        """{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4,"original_max_position_embeddings":32}""",
        "it must be above low_freq_factor"
    )]
    [InlineData(
        """{"type":"longrope","short_factor":[1,1,1,1,1,1,1,1]}""",
        "'rope_scaling.long_factor' is absent; longrope requires a list of 8 numbers."
    )]
    [InlineData(
        """{"type":"longrope","short_factor":[1,1],"long_factor":[1,1]}""",
        "'rope_scaling.short_factor' is [1,1]; it must be a list of 8 numbers above 0."
    )]
    [InlineData("\"linear\"", "'rope_scaling' is \"linear\"; it must be an object.")]
    public void Parse_wrong_rope_scaling_is_refused(string scaling, string message) =>
        Assert.Contains(message, Message(With("rope_scaling", scaling)), StringComparison.Ordinal);

    [Fact]
    public void Parse_two_rope_objects_are_refused()
    {
        var json = JsonNode.Parse(With("rope_scaling", """{"type":"linear","factor":4.0}"""))!;
        json["rope_parameters"] = new JsonObject { ["rope_type"] = "default" };
        Assert.Contains("the file also has rope_parameters", Message(json.ToJsonString()), StringComparison.Ordinal);
    }

    [Fact]
    public void Parse_two_rope_objects_that_agree_are_read_and_both_are_written()
    {
        const string llama3 =
            """{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":32}""";
        var json = JsonNode.Parse(With("rope_scaling", llama3))!.AsObject();
        json["rope_theta"] = 5e4;
        json["rope_parameters"] = JsonNode.Parse(llama3);
        json["rope_parameters"]!["rope_theta"] = 5e4;
        var read = ModelConfigReader.Parse(json.ToJsonString());
        Assert.Equal(("llama3", 8.0, 5e4), (read.RopeScaling.Kind, read.RopeScaling.Factor, read.RopeTheta));
        var longer = global::LongLora.Positions.RopeScaling.Extend(read, "auto", null, 1024);
        Assert.Equivalent(longer, ModelConfigReader.Parse(ModelConfigWriter.Update(json.ToJsonString(), longer)), strict: true);
        json["rope_parameters"]!["factor"] = 4;
        Assert.Contains("the file also has rope_parameters, which disagree", Message(json.ToJsonString()), StringComparison.Ordinal);
        // What one form leaves to its default may stand in the other.
        json["rope_scaling"] = JsonNode.Parse("""{"type":"yarn","factor":2.0,"original_max_position_embeddings":64}""");
        json["rope_parameters"] = JsonNode.Parse(
            """{"rope_type":"yarn","factor":2.0,"original_max_position_embeddings":64,"beta_fast":32.0,"rope_theta":50000.0}"""
        );
        Assert.Equal("yarn", ModelConfigReader.Parse(json.ToJsonString()).RopeScaling.Kind);
    }

    [Theory]
    [InlineData("_model_name_or_path", "\"org/name\"")]
    [InlineData("unk_token_id", "0")]
    [InlineData("num_labels", "2")]
    [InlineData("label2id", "{\"LABEL_0\":0}")]
    [InlineData("temperature", "0.7")]
    [InlineData("max_new_tokens", "100")]
    [InlineData("min_p", "0.05")]
    [InlineData("cls_token_id", "3")]
    [InlineData("transformers_version", "\"4.40.0\"")]
    [InlineData("gradient_checkpointing", "true")]
    public void Parse_fields_that_every_model_may_have_say_nothing_about_the_numbers(string field, string value) =>
        Assert.Equal(ModelConfigReader.Parse(Small), ModelConfigReader.Parse(With(field, value)));

    [Fact]
    public void Parse_several_unknown_fields_are_named_together()
    {
        var json = JsonNode.Parse(Small)!;
        json["alpha_scale"] = 2;
        json["beta_scale"] = true;
        json["note"] = null;
        json["list"] = new JsonArray();
        Assert.Contains(
            "unknown fields for llama models: 'alpha_scale' = 2, 'beta_scale' = true.",
            Message(json.ToJsonString()),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("hidden_size")]
    [InlineData("intermediate_size")]
    [InlineData("num_hidden_layers")]
    [InlineData("num_attention_heads")]
    [InlineData("vocab_size")]
    [InlineData("model_type")]
    public void Parse_missing_field_is_named(string field)
    {
        var json = JsonNode.Parse(Small)!.AsObject();
        json.Remove(field);
        Assert.Contains($"'{field}' is missing.", Message(json.ToJsonString()), StringComparison.Ordinal);
        json[field] = null;
        Assert.Contains($"'{field}' is missing.", Message(json.ToJsonString()), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{", "is not valid JSON")]
    [InlineData("[]", "must contain a JSON object, not a list")]
    [InlineData("{\"vocab_size\":1,\"vocab_size\":2}", "is not valid JSON")]
    [InlineData("", "is not valid JSON")]
    public void Parse_text_that_is_no_config_is_refused(string json, string message) =>
        Assert.Contains(message, Message(json), StringComparison.Ordinal);

    [Fact]
    public void ReadFile_missing_file_is_named() =>
        Assert.Equal(
            "no/config.json does not exist.",
            Assert.Throws<CheckpointException>(() => ModelConfigReader.ReadFile("no/config.json")).Message
        );

    private static string With(string field, string value)
    {
        var json = JsonNode.Parse(Small)!;
        json[field] = JsonNode.Parse(value);
        return json.ToJsonString();
    }

    private static string Message(string json) =>
        Assert.Throws<CheckpointException>(() => ModelConfigReader.Parse(json, "folder/config.json")).Message;
}
