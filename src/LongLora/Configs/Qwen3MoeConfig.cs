using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Qwen3 mixture's <c>config.json</c> (transformers' <c>Qwen3MoeConfig</c>), read and written.</summary>
internal static class Qwen3MoeConfig
{
    public const string ModelType = "qwen3_moe";

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType);
        fields.ReadInteger("num_key_value_heads");
        fields.ReadInteger("head_dim"); // transformers has another default, but every published file has the field
        fields.RequireFixed("use_mrope", false, "a position must be a single number");
        fields.MarkKnown("max_window_layers"); // the window is in all layers or in none
        var experts = MixtralConfig.ReadExperts(fields, fields.ReadInteger("moe_intermediate_size"));
        var (step, dense) = (fields.ReadIntegerOrNull("decoder_sparse_step") ?? 1, fields.ReadIntegers("mlp_only_layers", 0));
        var window = fields.ReadFlagOrNull("use_sliding_window") ?? false ? fields.ReadIntegerOrNull("sliding_window") : null;
        fields.MarkKnown("sliding_window");
        config = config with
        {
            MaxPositions = fields.ReadInteger("max_position_embeddings"),
            AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
            SlidingWindow = window,
            Experts = experts with { NormalizeWeights = fields.ReadFlagOrNull("norm_topk_prob") ?? false },
        };
        if (step > 1 || dense.Count > 0)
            config = config.PlanLayers((layer, plan) => plan with { HasExperts = !dense.Contains(layer) && (layer + 1) % step == 0 });
        return RopeConfig.Read(fields, config);
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Qwen3MoeForCausalLM");
        root["attention_bias"] = config.AttentionBias;
        root["use_sliding_window"] = config.SlidingWindow is not null;
        root["sliding_window"] = config.SlidingWindow;
        root["num_experts"] = config.Experts!.Count;
        root["num_experts_per_tok"] = config.Experts.PerToken;
        root["moe_intermediate_size"] = config.Experts.Size;
        root["norm_topk_prob"] = config.Experts.NormalizeWeights;
        root["mlp_only_layers"] = new JsonArray([
            .. Enumerable.Range(0, config.LayerCount).Where(i => !config.GetLayer(i).HasExperts).Select(i => (JsonNode)i),
        ]);
        root["decoder_sparse_step"] = 1;
        return root;
    }
}
