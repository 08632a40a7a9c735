using System.Globalization;
using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>Fields outside the architecture that any family's <c>config.json</c> may contain.</summary>
internal static class CommonConfig
{
    // The origin of the file and how Python should run it. None of these fields changes what the model computes.
    private static readonly string[] s_notes =
    [
        "_name_or_path",
        "name_or_path",
        "_model_name_or_path",
        "model_name_or_path",
        "_commit_hash",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "use_cache",
        "transformers.js_config",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
        "_flash_attn_2_enabled",
        "unsloth_fixed",
        "unsloth_version",
        "return_dict",
        "use_return_dict",
        "output_attentions",
        "_output_attentions",
        "output_hidden_states",
        "torchscript",
        "use_bfloat16",
        "tf_legacy_loss",
        "xla_device",
        "gradient_checkpointing",
        "classifier_dropout",
        "model_max_length",
        "pad_token_id",
        "sep_token_id",
        "cls_token_id",
        "mask_token_id",
        "unk_token_id",
        "decoder_start_token_id",
        "tokenizer_class",
        "prefix",
        "is_decoder",
        "task_specific_params",
        "id2label",
        "label2id",
        "num_labels",
        "_num_labels",
        "problem_type",
        "finetuning_task",
    ];

    // Defaults of text generation, which older versions of transformers kept here.
    private static readonly string[] s_generation =
    [
        "max_length",
        "max_new_tokens",
        "min_length",
        "min_new_tokens",
        "max_time",
        "stop_strings",
        "cache_implementation",
        "cache_config",
        "do_sample",
        "early_stopping",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "top_h",
        "typical_p",
        "epsilon_cutoff",
        "eta_cutoff",
        "penalty_alpha",
        "renormalize_logits",
        "sequence_bias",
        "token_healing",
        "guidance_scale",
        "low_memory",
        "constraints",
        "force_words_ids",
        "forced_decoder_ids",
        "dola_layers",
        "prefill_chunk_size",
        "return_legacy_cache",
        "encoder_repetition_penalty",
        "watermarking_config",
        "is_assistant",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_lookbehind",
        "target_lookbehind",
        "compile_config",
        "disable_compile",
        "generation_kwargs",
        "prompt_lookup_num_tokens",
        "max_matching_ngram_size",
        "output_logits",
        "repetition_penalty",
        "length_penalty",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "output_scores",
        "return_dict_in_generate",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "remove_invalid_values",
        "exponential_decay_length_penalty",
        "suppress_tokens",
        "begin_suppress_tokens",
    ];

    /// <summary>Reads the fields that all families share, and refuses values that would mean another model.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="ownCode">
    /// Classes in the model's folder whose code does the same as transformers and this library. Others are refused.
    /// </param>
    public static void Check(ConfigFields fields, params string[] ownCode)
    {
        foreach (var name in s_notes.Concat(s_generation))
            fields.MarkKnown(name);
        fields.RequireFixed("is_encoder_decoder", false, "the model must be a decoder");
        fields.RequireFixed("add_cross_attention", false, "the model must be a decoder without an encoder");
        fields.RequireFixed("cross_attention_hidden_size", 0, "the model must be a decoder without an encoder");
        fields.RequireFixed("tie_encoder_decoder", false, "the model must be a decoder without an encoder");
        fields.RequireFixed("chunk_size_feed_forward", 0, "the file cannot set how the MLP is split");
        if (fields.ReadObjectOrNull("quantization_config") is { } quantization)
            CheckQuantization(quantization);
        CheckCode(fields, ownCode);
        var architectures = fields.ReadTexts("architectures");
        fields.Require(
            architectures.Count == 0 || architectures.Any(a => a.EndsWith("ForCausalLM", StringComparison.OrdinalIgnoreCase)),
            "architectures",
            "it must name a language model (...ForCausalLM)"
        );
    }

    // Values look like "modeling_phi3.Phi3ForCausalLM".
    private static void CheckCode(ConfigFields fields, string[] known)
    {
        if (fields.ReadObjectOrNull("auto_map") is { } map)
        {
            var classes = map.ReadAllTexts().Select(text => text[(text.LastIndexOf('.') + 1)..]);
            fields.Require(classes.All(known.Contains), "auto_map", "this model needs its own Python code, which cannot run here");
        }
    }

    // The two formats of bitsandbytes. The tensors themselves say which matrices are quantized, and how.
    private static void CheckQuantization(ConfigFields fields)
    {
        const string supported = "use the model in full precision, or one that bitsandbytes quantized to nf4 or int8";
        if (fields.ReadTextOrNull("quant_method") == "mxfp4")
        {
            // gpt-oss: which tensors have it, they themselves say.
            fields.MarkKnown("modules_to_not_convert");
            fields.MarkKnown("dequantize");
            fields.RefuseOthers("mxfp4 models");
            return;
        }
        fields.Require(fields.ReadTextOrNull("quant_method") is null or "bitsandbytes", "quant_method", supported);
        var in4Bits = fields.ReadFlagOrNull("load_in_4bit") ?? fields.ReadFlagOrNull("_load_in_4bit") ?? false;
        var in8Bits = fields.ReadFlagOrNull("load_in_8bit") ?? fields.ReadFlagOrNull("_load_in_8bit") ?? false;
        fields.Require(in4Bits != in8Bits, "load_in_4bit", "either load_in_4bit or load_in_8bit must be true; " + supported);
        if (in4Bits)
        {
            fields.ReadChoice("bnb_4bit_quant_type", "fp4", "nf4");
            fields.ReadChoice("bnb_4bit_quant_storage", "uint8", "uint8");
        }
        // How Python would compute. Activations are never quantized here.
        foreach (
            var name in (string[])
                [
                    "_load_in_4bit",
                    "_load_in_8bit",
                    "bnb_4bit_compute_dtype",
                    "bnb_4bit_use_double_quant",
                    "bnb_4bit_quant_type",
                    "bnb_4bit_quant_storage",
                    "llm_int8_enable_fp32_cpu_offload",
                    "llm_int8_has_fp16_weight",
                    "llm_int8_skip_modules",
                    "llm_int8_threshold",
                ]
        )
        {
            fields.MarkKnown(name);
        }
        fields.RefuseOthers("bitsandbytes models");
    }

    /// <summary>
    /// A number that Python reads as a float: 2.0, not 2. transformers before 4.43 rejects a rope factor that is an integer.
    /// </summary>
    public static JsonNode ToJsonNumber(double number)
    {
        var text = number.ToString("R", CultureInfo.InvariantCulture).Replace("E", "e", StringComparison.Ordinal);
        return JsonNode.Parse(text.AsSpan().ContainsAny('.', 'e') ? text : text + ".0")!;
    }

    public static JsonNode? ToJsonIds(IReadOnlyList<int> ids) =>
        ids.Count switch
        {
            0 => null,
            1 => ids[0],
            _ => new JsonArray([.. ids.Select(id => (JsonNode)id)]),
        };
}
