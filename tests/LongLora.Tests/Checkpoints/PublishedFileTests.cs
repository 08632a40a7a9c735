using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Tests.Checkpoints;

/// <summary>The fields of <c>config.json</c> as makers publish them, odd ones included, are read as the model of that name.</summary>
public class PublishedFileTests
{
    // Common to the files, in one piece to keep the rest short.
    private const string Common =
        "\"initializer_range\":0.02,\"torch_dtype\":\"bfloat16\",\"transformers_version\":\"4.37.0\",\"use_cache\":true,";

    private static readonly Dictionary<string, string> s_files = new()
    {
        ["tinyllama-1.1b"] = """
            "architectures":["LlamaForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":2048,"intermediate_size":5632,
            "max_position_embeddings":2048,"model_type":"llama","num_attention_heads":32,"num_hidden_layers":22,"num_key_value_heads":4,
            "pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,"tie_word_embeddings":false,"vocab_size":32000
            """,
        ["smollm2-1.7b"] = """
            "architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":0,"eos_token_id":0,"hidden_act":"silu",
            "hidden_size":2048,"intermediate_size":8192,"max_position_embeddings":8192,"mlp_bias":false,"model_type":"llama",
            "num_attention_heads":32,"num_hidden_layers":24,"num_key_value_heads":32,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,
            "rope_theta":130000,"tie_word_embeddings":true,"vocab_size":49152
            """,
        ["yi-6b"] = """
            "architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,
            "intermediate_size":11008,"max_position_embeddings":4096,"model_type":"llama","num_attention_heads":32,"num_hidden_layers":32,
            "num_key_value_heads":4,"pad_token_id":0,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":5000000.0,
            "tie_word_embeddings":false,"vocab_size":64000
            """,
        ["llama-3.2-1b"] = """
            "architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":128000,"eos_token_id":128001,"head_dim":64,
            "hidden_act":"silu","hidden_size":2048,"intermediate_size":8192,"max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama",
            "num_attention_heads":32,"num_hidden_layers":16,"num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,
            "rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},
            "rope_theta":500000.0,"tie_word_embeddings":true,"vocab_size":128256
            """,
        ["mistral-7b-v0.1"] = """
            "architectures":["MistralForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,
            "max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,
            "rms_norm_eps":1e-05,"rope_theta":10000.0,"sliding_window":4096,"tie_word_embeddings":false,"vocab_size":32000
            """,
        ["mistral-7b-v0.3"] = """
            "architectures":["MistralForCausalLM"],"attention_dropout":0.0,"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,
            "intermediate_size":14336,"max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,
            "num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":false,"vocab_size":32768
            """,
        ["qwen2.5-7b"] = """
            "architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151643,"hidden_act":"silu","hidden_size":3584,
            "intermediate_size":18944,"max_position_embeddings":131072,"max_window_layers":28,"model_type":"qwen2","num_attention_heads":28,
            "num_hidden_layers":28,"num_key_value_heads":4,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":131072,
            "tie_word_embeddings":false,"use_mrope":false,"use_sliding_window":false,"vocab_size":152064
            """,
        ["qwen3-8b"] = """
            "architectures":["Qwen3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151645,"head_dim":128,
            "hidden_act":"silu","hidden_size":4096,"intermediate_size":12288,"max_position_embeddings":40960,"max_window_layers":36,
            "model_type":"qwen3","num_attention_heads":32,"num_hidden_layers":36,"num_key_value_heads":8,"rms_norm_eps":1e-06,"rope_scaling":null,
            "rope_theta":1000000,"sliding_window":null,"tie_word_embeddings":false,"use_sliding_window":false,"vocab_size":151936
            """,
        ["phi-3-mini-4k"] = """
            "_name_or_path":"Phi-3-mini-4k-instruct","architectures":["Phi3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,
            "auto_map":{"AutoConfig":"configuration_phi3.Phi3Config","AutoModelForCausalLM":"modeling_phi3.Phi3ForCausalLM"},"bos_token_id":1,
            "embd_pdrop":0.0,"eos_token_id":32000,"hidden_act":"silu","hidden_size":3072,"intermediate_size":8192,"max_position_embeddings":4096,
            "model_type":"phi3","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":32,"original_max_position_embeddings":4096,
            "pad_token_id":32000,"resid_pdrop":0.0,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,"sliding_window":2047,
            "tie_word_embeddings":false,"vocab_size":32064
            """,
        ["pythia-6.9b"] = """
            "architectures":["GPTNeoXForCausalLM"],"bos_token_id":0,"eos_token_id":0,"hidden_act":"gelu","hidden_size":4096,"intermediate_size":16384,
            "layer_norm_eps":1e-05,"max_position_embeddings":2048,"model_type":"gpt_neox","num_attention_heads":32,"num_hidden_layers":32,
            "rotary_emb_base":10000,"rotary_pct":0.25,"tie_word_embeddings":false,"use_parallel_residual":true,"vocab_size":50432
            """,
        ["gpt-neox-20b"] = """
            "architectures":["GPTNeoXForCausalLM"],"attention_probs_dropout_prob":0,"bos_token_id":0,"eos_token_id":0,"hidden_act":"gelu_fast",
            "hidden_dropout_prob":0,"hidden_size":6144,"intermediate_size":24576,"layer_norm_eps":1e-05,"max_position_embeddings":2048,
            "model_type":"gpt_neox","num_attention_heads":64,"num_hidden_layers":44,"rotary_emb_base":10000,"rotary_pct":0.25,
            "tie_word_embeddings":false,"vocab_size":50432
            """,
    };

    public static TheoryData<string> Names => [.. s_files.Keys];

    private static string File(string name) => "{" + Common + s_files[name] + "}";

    private static string With(string name, string field, string? value)
    {
        var root = JsonNode.Parse(File(name))!.AsObject();
        root.Remove(field);
        if (value is not null)
            root[field] = JsonNode.Parse(value);
        return root.ToJsonString();
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Parse_published_file_is_the_model_of_that_name(string name)
    {
        var read = ModelConfigReader.Parse(File(name));
        var expected = PublishedConfigs.Find(name);
        // The only field that a file may have without meaning: a default scaling's original context.
        Assert.Equivalent(
            expected,
            read with
            {
                RopeScaling = read.RopeScaling.Kind == "default" ? expected.RopeScaling : read.RopeScaling,
            },
            strict: true
        );
        Assert.Equal(expected.RopeScaling.Kind, read.RopeScaling.Kind);
    }

    [Theory]
    [InlineData("mistral-7b-v0.1", null, 4096)] // transformers' default for a file that does not name it
    [InlineData("mistral-7b-v0.1", "null", null)]
    [InlineData("mistral-7b-v0.1", "1024", 1024)]
    public void Parse_mistral_window_is_read_as_transformers_reads_it(string name, string? value, int? window) =>
        Assert.Equal(window, ModelConfigReader.Parse(With(name, "sliding_window", value)).SlidingWindow);

    [Theory]
    [InlineData("mixtral-8x7b", "num_local_experts", "100000000", "'num_local_experts' is 100000000; it must be at most 4,096.")]
    [InlineData("mixtral-8x7b", "num_local_experts", "4096", null)]
    [InlineData("mixtral-8x7b", "num_local_experts", "4097", "'num_local_experts' is 4097; it must be at most 4,096.")]
    [InlineData("qwen3-235b-a22b", "num_experts", "1394", null)]
    [InlineData("qwen3-235b-a22b", "num_experts", "1395", "1395 experts in each layer would be more than 131072 in all")]
    public void Parse_number_of_experts_that_would_be_endless_work_is_refused(string name, string field, string value, string? message)
    {
        var root = JsonNode.Parse(ModelConfigWriter.Create(PublishedConfigs.Find(name)))!.AsObject();
        root[field] = JsonNode.Parse(value);
        var json = root.ToJsonString();
        if (message is null)
            Assert.Equal(value, $"{ModelConfigReader.Parse(json).Experts!.Count}");
        else
            Assert.Contains(
                message,
                Assert.Throws<CheckpointException>(() => ModelConfigReader.Parse(json)).Message,
                StringComparison.Ordinal
            );
    }

    [Fact]
    public void Parse_qwen_window_begins_at_the_layer_that_either_way_of_writing_tells()
    {
        var root = JsonNode.Parse(With("qwen2.5-7b", "use_sliding_window", "true"))!.AsObject();
        root["max_window_layers"] = 5;
        var read = ModelConfigReader.Parse(root.ToJsonString());
        Assert.Equal((131072, 5), (read.SlidingWindow, read.FirstWindowedLayer));
        Assert.Equal((null, 131072), (read.GetWindow(4), read.GetWindow(5)));
        root["layer_types"] = JsonSerializer.SerializeToNode(
            Enumerable.Range(0, 28).Select(i => i < 7 ? "full_attention" : "sliding_attention")
        );
        Assert.Equal(7, ModelConfigReader.Parse(root.ToJsonString()).FirstWindowedLayer);
    }

    [Fact]
    public void Parse_rope_parameters_of_transformers_5_hold_the_rotary_share()
    {
        var root = JsonNode.Parse(File("pythia-6.9b"))!.AsObject();
        root.Remove("rotary_pct");
        root.Remove("rotary_emb_base");
        root["rope_parameters"] = JsonNode.Parse("""{"rope_theta":10000.0,"partial_rotary_factor":0.25,"rope_type":"default"}""");
        var read = ModelConfigReader.Parse(root.ToJsonString());
        Assert.Equal((32, 10000.0), (read.RotarySize, read.RopeTheta));
        var longer = global::LongLora.Positions.RopeScaling.Extend(read, "auto", null, 8192);
        Assert.Equivalent(longer, ModelConfigReader.Parse(ModelConfigWriter.Update(root.ToJsonString(), longer)), strict: true);
    }

    [Theory]
    [InlineData("mistral-7b-v0.1", "num_key_value_heads", null, "'num_key_value_heads' is missing")]
    [InlineData("qwen3-8b", "head_dim", null, "'head_dim' is missing")]
    [InlineData("qwen2.5-7b", "layer_types", "[\"full_attention\"]", "it must have 28 entries, one per layer")]
    [InlineData("qwen2.5-7b", "use_mrope", "true", "'use_mrope' is true; only false is supported")]
    [InlineData("qwen3-8b", "num_experts", "128", "unknown field for qwen3 models: 'num_experts' = 128")]
    [InlineData(
        "phi-3-mini-4k",
        "auto_map",
        "{\"AutoModelForCausalLM\":\"modeling_phi3_v.Phi3VForCausalLM\"}",
        "needs its own " + "Python code"
    )]
    [InlineData("phi-3-mini-4k", "resid_pdrop", "0.1", "'resid_pdrop' is 0.1; only 0 is supported")]
    [InlineData("phi-3-mini-4k", "partial_rotary_factor", "0.99", "it rotates 95 of a head's 96 numbers; that must be even")]
    [InlineData("pythia-6.9b", "hidden_act", "\"relu\"", "'hidden_act' is \"relu\"; supported: gelu, gelu_new, gelu_fast")]
    [InlineData("pythia-6.9b", "rotary_pct", "0.001", "it rotates 0 of a head's 128 numbers")]
    [InlineData("pythia-6.9b", "hidden_dropout", "0.1", "'hidden_dropout' is 0.1; only 0 is supported")]
    public void Parse_what_would_be_another_model_is_refused(string name, string field, string? value, string message) =>
        Assert.Contains(
            message,
            Assert.Throws<CheckpointException>(() => ModelConfigReader.Parse(With(name, field, value))).Message,
            StringComparison.Ordinal
        );
}
