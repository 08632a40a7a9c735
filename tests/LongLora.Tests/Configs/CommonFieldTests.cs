using System.Text.Json.Nodes;
using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Tests.Configs;

/// <summary>
/// The fields that transformers gives the config of every model: those of its base class, and defaults of generation, which it kept there
/// before version 5. They say nothing about the numbers. Anything else is refused by name, in every family.
/// </summary>
public class CommonFieldTests
{
    private const string Notes = """
        {
          "_name_or_path": "org/name", "name_or_path": "org/name", "_model_name_or_path": "org/name", "_commit_hash": "0123abc",
          "transformers_version": "4.57.1", "torch_dtype": "bfloat16", "dtype": "bfloat16", "use_cache": true,
          "architectures": ["SomeForCausalLM"],
          "attn_implementation": "sdpa", "_attn_implementation": "sdpa", "_attn_implementation_autoset": true,
          "_attn_implementation_internal": "sdpa", "experts_implementation": "grouped_mm", "_experts_implementation": "grouped_mm",
          "_experts_implementation_internal": "grouped_mm",
          "return_dict": true, "use_return_dict": true, "output_attentions": false, "output_hidden_states": false, "torchscript": false,
          "use_bfloat16": false, "tf_legacy_loss": false, "xla_device": "x", "gradient_checkpointing": false, "pruned_heads": {},
          "chunk_size_feed_forward": 0, "is_encoder_decoder": false, "is_decoder": true, "add_cross_attention": false,
          "cross_attention_hidden_size": null, "tie_encoder_decoder": false, "per_layer_config": null,
          "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "num_labels": 2,
          "problem_type": "regression", "finetuning_task": "mrpc", "task_specific_params": {"summarization": {"max_length": 128}},
          "tokenizer_class": "SomeTokenizer", "prefix": "p",
          "pad_token_id": 0, "sep_token_id": 3, "cls_token_id": 3, "mask_token_id": 3, "unk_token_id": 0, "decoder_start_token_id": 1
        }
        """;

    private const string Generation = """
        {
          "max_length": 20, "max_new_tokens": 100, "min_length": 0, "min_new_tokens": 1, "early_stopping": false, "max_time": 1.5,
          "stop_strings": ["x"], "do_sample": false, "num_beams": 1, "num_beam_groups": 1, "penalty_alpha": 0.6, "dola_layers": "low",
          "cache_implementation": "static", "cache_config": {"a": 1}, "return_legacy_cache": true, "prefill_chunk_size": 8,
          "temperature": 0.7, "top_k": 50, "top_p": 0.9, "min_p": 0.05, "top_h": 0.4, "typical_p": 1.0, "epsilon_cutoff": 0.1,
          "eta_cutoff": 0.1, "diversity_penalty": 0.5, "repetition_penalty": 1.1, "encoder_repetition_penalty": 1.1,
          "length_penalty": 1.1, "no_repeat_ngram_size": 3, "encoder_no_repeat_ngram_size": 3, "bad_words_ids": [[1]],
          "force_words_ids": [[1]], "renormalize_logits": true, "constraints": ["c"], "forced_bos_token_id": 1,
          "forced_eos_token_id": 2, "remove_invalid_values": true, "exponential_decay_length_penalty": [1, 1.1],
          "suppress_tokens": [1], "begin_suppress_tokens": [1], "forced_decoder_ids": [[1, 2]], "sequence_bias": [[[1], 0.5]],
          "token_healing": true, "guidance_scale": 1.5, "low_memory": true, "watermarking_config": {"bias": 2.5},
          "num_return_sequences": 1, "output_scores": true, "output_logits": true, "return_dict_in_generate": true,
          "is_assistant": true, "num_assistant_tokens": 5, "num_assistant_tokens_schedule": "constant",
          "assistant_confidence_threshold": 0.4, "assistant_early_exit": 4, "assistant_lookbehind": 10, "target_lookbehind": 10,
          "prompt_lookup_num_tokens": 10, "max_matching_ngram_size": 2, "compile_config": {"a": 1}, "disable_compile": true,
          "generation_kwargs": {"a": 1}
        }
        """;

    // A small config of each family, as transformers writes it.
    private static readonly Dictionary<string, string> s_configs = Directory
        .EnumerateFiles(SharedMaterial.Golden(), "*.json", SearchOption.AllDirectories)
        .Where(f => Path.GetFileName(f) == "config.json" || Path.GetFileName(Path.GetDirectoryName(f)) == "families")
        .Order(StringComparer.Ordinal)
        .Select(File.ReadAllText)
        .GroupBy(text => (string)JsonNode.Parse(text)!["model_type"]!)
        .ToDictionary(g => g.Key, g => g.First());

    public static TheoryData<string> Families => [.. ModelConfigReader.Families];

    private static JsonObject Config(string family) => JsonNode.Parse(s_configs[family])!.AsObject();

    private static IEnumerable<KeyValuePair<string, JsonNode?>> Fields =>
        JsonNode.Parse(Notes)!.AsObject().Concat(JsonNode.Parse(Generation)!.AsObject());

    [Theory]
    [MemberData(nameof(Families))]
    public void Parse_takes_every_field_that_transformers_gives_all_models(string family)
    {
        var plain = ModelConfigReader.Parse(s_configs[family]);
        var all = Config(family);
        foreach (var (name, value) in Fields.Where(f => !all.ContainsKey(f.Key)).ToList())
        {
            all[name] = value?.DeepClone();
            var one = Config(family);
            one[name] = value?.DeepClone();
            Assert.Equivalent(plain, ModelConfigReader.Parse(one.ToJsonString(), name), strict: true);
        }
        Assert.Equivalent(plain, ModelConfigReader.Parse(all.ToJsonString()), strict: true);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Parse_refuses_other_fields_by_name(string family)
    {
        foreach (var name in (string[])["residual_scale_of_nobody", "temperatur", "per_layer_config", "pruned_heads"])
        {
            var config = Config(family);
            config[name] = JsonNode.Parse("""{"0": [1]}""");
            var told = Assert.Throws<CheckpointException>(() => ModelConfigReader.Parse(config.ToJsonString())).Message;
            Assert.Contains($"'{name}'", told, StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void Parse_refuses_common_fields_that_mean_another_model(string family)
    {
        foreach (
            var (name, value) in (IEnumerable<(string, JsonNode)>)
                [
                    ("is_encoder_decoder", true),
                    ("add_cross_attention", true),
                    ("cross_attention_hidden_size", 64),
                    ("tie_encoder_decoder", true),
                    ("chunk_size_feed_forward", 16),
                    ("architectures", new JsonArray("SomeForSequenceClassification")),
                ]
        )
        {
            var config = Config(family);
            config[name] = value;
            var told = Assert.Throws<CheckpointException>(() => ModelConfigReader.Parse(config.ToJsonString())).Message;
            Assert.Contains($"'{name}'", told, StringComparison.Ordinal);
        }
    }
}
