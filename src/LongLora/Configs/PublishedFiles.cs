namespace LongLora.Configs;

/// <summary>
/// The architecture parts of the published <c>config.json</c> of well-known models, for families that came after Llama's first relatives:
/// the files themselves, without fields that do not affect the numbers.
/// </summary>
internal static class PublishedFiles
{
    /// <summary>Names of the models.</summary>
    public static IReadOnlyCollection<string> Names => s_texts.Keys;

    /// <summary>The config of a model; null if it is not in the list.</summary>
    public static ModelConfig? Find(string name) => s_texts.TryGetValue(name, out var text) ? ModelConfigReader.Parse(text, name) : null;

    private static readonly Dictionary<string, string> s_texts = new()
    {
        ["smollm3-3b"] = """
            {
              "model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
              "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 128256, "max_position_embeddings": 65536,
              "rope_theta": 5000000.0, "eos_token_id": 128012
            }
            """,
        ["ministral-3-3b"] = """
            {
              "model_type": "ministral3", "hidden_size": 3072, "intermediate_size": 9216, "num_hidden_layers": 26,
              "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
              "max_position_embeddings": 262144, "tie_word_embeddings": true,
              "rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 16.0,
              "original_max_position_embeddings": 16384, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0,
              "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
              "bos_token_id": 1, "eos_token_id": 2
            }
            """,
        ["gemma-3-270m"] = """
            {
              "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
              "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144,
              "max_position_embeddings": 32768, "sliding_window": 512, "query_pre_attn_scalar": 256, "bos_token_id": 2,
              "eos_token_id": [1, 106]
            }
            """,
        ["gemma-3-1b"] = """
            {
              "model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26,
              "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262144,
              "max_position_embeddings": 32768, "sliding_window": 512, "query_pre_attn_scalar": 256, "bos_token_id": 2,
              "eos_token_id": [1, 106]
            }
            """,
        ["gemma-3-4b"] = """
            {
              "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
              "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208,
              "max_position_embeddings": 131072, "sliding_window": 1024, "query_pre_attn_scalar": 256, "bos_token_id": 2,
              "eos_token_id": [1, 106], "rope_scaling": {"rope_type": "linear", "factor": 8.0}
            }
            """,
        ["gemma-3-12b"] = """
            {
              "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
              "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 262208,
              "max_position_embeddings": 131072, "sliding_window": 1024, "query_pre_attn_scalar": 256, "bos_token_id": 2,
              "eos_token_id": [1, 106], "rope_scaling": {"rope_type": "linear", "factor": 8.0}
            }
            """,
        ["gemma-3-27b"] = """
            {
              "model_type": "gemma3_text", "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62,
              "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "vocab_size": 262208,
              "max_position_embeddings": 131072, "sliding_window": 1024, "query_pre_attn_scalar": 168, "bos_token_id": 2,
              "eos_token_id": [1, 106], "rope_scaling": {"rope_type": "linear", "factor": 8.0}
            }
            """,
        ["gemma-2-2b"] = """
            {
              "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
              "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000,
              "max_position_embeddings": 8192, "sliding_window": 4096, "query_pre_attn_scalar": 256, "bos_token_id": 2,
              "eos_token_id": 1
            }
            """,
        ["gemma-2-9b"] = """
            {
              "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42,
              "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 256000,
              "max_position_embeddings": 8192, "sliding_window": 4096, "query_pre_attn_scalar": 256, "bos_token_id": 2,
              "eos_token_id": 1
            }
            """,
        ["gemma-2-27b"] = """
            {
              "model_type": "gemma2", "hidden_size": 4608, "intermediate_size": 36864, "num_hidden_layers": 46,
              "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "vocab_size": 256000,
              "max_position_embeddings": 8192, "sliding_window": 4096, "query_pre_attn_scalar": 144, "bos_token_id": 2,
              "eos_token_id": 1
            }
            """,
        ["qwen3-30b-a3b"] = """
            {
              "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48,
              "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
              "max_position_embeddings": 40960, "rope_theta": 1000000.0, "moe_intermediate_size": 768,
              "num_experts": 128,
              "num_experts_per_tok": 8, "norm_topk_prob": true, "bos_token_id": 151643, "eos_token_id": 151645
            }
            """,
        ["qwen3-235b-a22b"] = """
            {
              "model_type": "qwen3_moe", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 94,
              "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
              "max_position_embeddings": 40960, "rope_theta": 1000000.0, "moe_intermediate_size": 1536,
              "num_experts": 128,
              "num_experts_per_tok": 8, "norm_topk_prob": true, "bos_token_id": 151643, "eos_token_id": 151645
            }
            """,
        ["mixtral-8x7b"] = """
            {
              "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768,
              "rope_theta": 1000000.0, "num_local_experts": 8, "num_experts_per_tok": 2, "bos_token_id": 1,
              "eos_token_id": 2
            }
            """,
        ["mixtral-8x22b"] = """
            {
              "model_type": "mixtral", "hidden_size": 6144, "intermediate_size": 16384, "num_hidden_layers": 56,
              "num_attention_heads": 48, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 65536,
              "rope_theta": 1000000.0, "num_local_experts": 8, "num_experts_per_tok": 2, "bos_token_id": 1,
              "eos_token_id": 2
            }
            """,
        ["gpt-oss-20b"] = """
            {
              "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 24,
              "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201088,
              "max_position_embeddings": 131072, "rope_theta": 150000.0,
              "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096,
              "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false},
              "sliding_window": 128, "num_local_experts": 32, "num_experts_per_tok": 4, "swiglu_limit": 7.0,
              "eos_token_id": 200002
            }
            """,
        ["gpt-oss-120b"] = """
            {
              "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36,
              "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201088,
              "max_position_embeddings": 131072, "rope_theta": 150000.0,
              "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096,
              "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false},
              "sliding_window": 128, "num_local_experts": 128, "num_experts_per_tok": 4, "swiglu_limit": 7.0,
              "eos_token_id": 200002
            }
            """,
        ["olmo-2-1b"] = """
            {
              "model_type": "olmo2", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
              "num_attention_heads": 16, "num_key_value_heads": 16, "vocab_size": 100352, "max_position_embeddings": 4096,
              "rms_norm_eps": 1e-06, "rope_theta": 500000.0, "eos_token_id": 100257
            }
            """,
        ["olmo-2-7b"] = """
            {
              "model_type": "olmo2", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 100352, "max_position_embeddings": 4096,
              "rms_norm_eps": 1e-06, "rope_theta": 500000.0, "eos_token_id": 100257
            }
            """,
        ["olmo-2-13b"] = """
            {
              "model_type": "olmo2", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
              "num_attention_heads": 40, "num_key_value_heads": 40, "vocab_size": 100352, "max_position_embeddings": 4096,
              "rms_norm_eps": 1e-06, "rope_theta": 500000.0, "eos_token_id": 100257
            }
            """,
        ["olmo-2-32b"] = """
            {
              "model_type": "olmo2", "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64,
              "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 100352, "max_position_embeddings": 4096,
              "rms_norm_eps": 1e-06, "rope_theta": 500000.0, "eos_token_id": 100257
            }
            """,
        ["olmo-3-7b"] = """
            {
              "model_type": "olmo3", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 100278, "max_position_embeddings": 65536,
              "rms_norm_eps": 1e-06, "rope_theta": 500000.0,
              "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192,
              "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0},
              "sliding_window": 4096, "eos_token_id": 100257
            }
            """,
        ["olmo-3-32b"] = """
            {
              "model_type": "olmo3", "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64,
              "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 100278, "max_position_embeddings": 65536,
              "rms_norm_eps": 1e-06, "rope_theta": 500000.0,
              "rope_scaling": {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192,
              "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0},
              "sliding_window": 4096, "eos_token_id": 100257
            }
            """,
        ["granite-3.3-2b"] = """
            {
              "model_type": "granite", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 40,
              "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 49159, "max_position_embeddings": 131072,
              "rms_norm_eps": 1e-05, "rope_theta": 10000000.0, "tie_word_embeddings": true,
              "embedding_multiplier": 12.0,
              "attention_multiplier": 0.015625, "residual_multiplier": 0.22, "logits_scaling": 8.0, "bos_token_id": 0,
              "eos_token_id": 0
            }
            """,
        ["granite-3.3-8b"] = """
            {
              "model_type": "granite", "hidden_size": 4096, "intermediate_size": 12800, "num_hidden_layers": 40,
              "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 49159, "max_position_embeddings": 131072,
              "rms_norm_eps": 1e-05, "rope_theta": 10000000.0, "tie_word_embeddings": true,
              "embedding_multiplier": 12.0,
              "attention_multiplier": 0.0078125, "residual_multiplier": 0.22, "logits_scaling": 16.0, "bos_token_id": 0,
              "eos_token_id": 0
            }
            """,
        ["glm-4-9b"] = """
            {
              "model_type": "glm", "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
              "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 151552,
              "max_position_embeddings": 131072, "attention_bias": true, "rope_theta": 5000000.0,
              "partial_rotary_factor": 0.5,
              "eos_token_id": [151329, 151336, 151338]
            }
            """,
        ["glm-4-9b-0414"] = """
            {
              "model_type": "glm4", "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
              "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 151552,
              "max_position_embeddings": 32768, "rms_norm_eps": 1e-05, "attention_bias": true, "rope_theta": 10000.0,
              "partial_rotary_factor": 0.5, "eos_token_id": [151329, 151336, 151338]
            }
            """,
        ["exaone-4.0-1.2b"] = """
            {
              "model_type": "exaone4", "hidden_size": 2048, "intermediate_size": 4096, "num_hidden_layers": 30,
              "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 102400,
              "max_position_embeddings": 65536, "rope_theta": 1000000.0,
              "rope_scaling": {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192},
              "sliding_window": null, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 361
            }
            """,
        ["exaone-4.0-32b"] = """
            {
              "model_type": "exaone4", "hidden_size": 5120, "intermediate_size": 27392, "num_hidden_layers": 64,
              "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 102400,
              "max_position_embeddings": 131072, "rope_theta": 1000000.0,
              "rope_scaling": {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192},
              "sliding_window": 4096, "sliding_window_pattern": 4, "bos_token_id": 1, "eos_token_id": 361
            }
            """,
        ["seed-oss-36b"] = """
            {
              "model_type": "seed_oss", "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64,
              "num_attention_heads": 80, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 155136,
              "max_position_embeddings": 524288, "rope_theta": 10000000.0, "bos_token_id": 0, "eos_token_id": 2
            }
            """,
        ["ernie-4.5-0.3b"] = """
            {
              "model_type": "ernie4_5", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 18,
              "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 103424,
              "max_position_embeddings": 131072, "rope_theta": 500000.0, "bos_token_id": 1, "eos_token_id": 2
            }
            """,
        ["apertus-8b"] = """
            {
              "model_type": "apertus", "hidden_size": 4096, "intermediate_size": 21504, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 131072, "max_position_embeddings": 65536,
              "hidden_act": "xielu", "rope_theta": 12000000.0,
              "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 8192},
              "bos_token_id": 1, "eos_token_id": 68
            }
            """,
        ["command-r7b"] = """
            {
              "model_type": "cohere2", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 256000, "max_position_embeddings": 132096,
              "logit_scale": 0.25, "rope_theta": 50000, "sliding_window": 4096, "bos_token_id": 5,
              "eos_token_id": 255001
            }
            """,
    };
}
