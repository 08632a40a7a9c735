using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The fields of a dense Hunyuan <c>config.json</c> (transformers' <c>HunYuanDenseV1Config</c>), read and written.
/// </summary>
internal static class HunyuanConfig
{
    public const string ModelType = "hunyuan_v1_dense";

    private static readonly ShapeRules s_shape = new() { Epsilon = 1e-5 };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        // Fields of the published files. Many of them apply only to other models of the maker.
        fields.RequireFixed("use_qk_norm", true, "queries and keys have norms");
        fields.RequireFixed("use_rotary_pos_emb", true, "positions are rotary");
        fields.RequireFixed("use_cla", false, "each layer has its own keys and values");
        fields.RequireFixed("mlp_bias", false, "the MLP has no biases");
        fields.RequireFixed("add_classification_head", false, "the model must be a language model");
        fields.ReadChoice("norm_type", "rms", "rms", "hf_rms", "fused");
        fields.MarkKnown(
            "pretraining_tp",
            "eod_token_id",
            "im_start_id",
            "im_end_id",
            "im_newline_id",
            "image_token_id",
            "text_start_id",
            "text_end_id",
            "mask_init_id",
            "num_media_embeds",
            "org_vocab_size",
            "class_num",
            "pool_type",
            "dense_list",
            "cla_share_factor",
            "attention_head_dim",
            "enable_lm_head_fp32",
            "position_embedding_xdrope"
        );
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
            },
            new RopeRules { HasAlpha = true }
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "HunYuanDenseV1ForCausalLM", s_shape);
        root["attention_bias"] = config.AttentionBias;
        return root;
    }
}
