using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Cohere 2 <c>config.json</c> (transformers' <c>Cohere2Config</c>), read and written.</summary>
internal static class Cohere2Config
{
    public const string ModelType = "cohere2";

    private static readonly ShapeRules s_shape = new()
    {
        EpsilonName = "layer_norm_eps",
        Epsilon = 1e-5,
        TiedEmbeddings = true,
    };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        fields.Require(config.HeadSize * config.HeadCount == config.HiddenSize, "head_dim", "it must be hidden_size / num_attention_heads");
        // Fields of the published files that transformers does not have.
        fields.RequireFixed("use_parallel_block", true, "attention and MLP run in parallel");
        fields.RequireFixed("use_gated_activation", true, "the MLP has a gate");
        fields.RequireFixed("use_parallel_embedding", false, "there is only one embedding");
        fields.RequireFixed("use_qk_norm", false, "queries and keys have no norms");
        fields.RequireFixed("rotary_pct", 1, "the family rotates whole heads");
        fields.ReadChoice("position_embedding_type", "rope_gptj", "rope_gptj");
        fields.ReadChoice("order_of_interleaved_layers", "local_attn_first", "local_attn_first");
        fields.MarkKnown("use_embedding_sharing", "_sliding_window_pattern");
        var period = fields.ReadIntegerOrNull("sliding_window_pattern") ?? fields.ReadIntegerOrNull("layer_switch") ?? 4;
        fields.MarkKnown("layer_switch");
        config = config with
        {
            MaxPositions = fields.ReadInteger("max_position_embeddings"),
            AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
            ParallelResidual = true,
            InterleavedRotation = true,
            LogitFactor = fields.ReadPositiveOrNull("logit_scale") ?? 0.0625,
        };
        return RopeConfig.Read(
            fields,
            LayerTypes.ReadWindows(fields, config, window: 4096, period, isWindowed => isWindowed ? LayerRotation.Main : LayerRotation.None)
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Cohere2ForCausalLM", s_shape);
        root.Remove("head_dim");
        root["attention_bias"] = config.AttentionBias;
        root["logit_scale"] = CommonConfig.ToJsonNumber(config.LogitFactor);
        root["sliding_window"] = config.SlidingWindow;
        root["layer_types"] = LayerTypes.Write(config);
        return root;
    }
}
