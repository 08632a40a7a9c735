using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a gpt-oss <c>config.json</c> (transformers' <c>GptOssConfig</c>), read and written.</summary>
internal static class GptOssConfig
{
    public const string ModelType = "gpt_oss";

    private static readonly ShapeRules s_shape = new() { Epsilon = 1e-5, HeadSize = 64 };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        var experts = MixtralConfig.ReadExperts(fields, config.IntermediateSize);
        fields.RequireFixed("experts_per_token", experts.PerToken, "num_experts_per_tok has this value");
        fields.RequireFixed("attention_bias", true, "every projection of attention has a bias");
        fields.MarkKnown("initial_context_length"); // rope_scaling's original context
        config = config with
        {
            MaxPositions = fields.ReadInteger("max_position_embeddings"),
            AttentionBias = true,
            MlpBias = true,
            Experts = experts,
            ActivationLimit = fields.ReadPositiveOrNull("swiglu_limit") ?? 7,
            ActivationSlope = fields.ReadPositiveOrNull("swiglu_alpha") ?? 1.702,
        };
        return RopeConfig.Read(fields, LayerTypes.ReadWindows(fields, config, window: 128, period: 2), new RopeRules { Theta = 150000 });
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "GptOssForCausalLM", s_shape);
        root["attention_bias"] = true;
        root["num_local_experts"] = config.Experts!.Count;
        root["num_experts_per_tok"] = config.Experts.PerToken;
        root["swiglu_limit"] = CommonConfig.ToJsonNumber(config.ActivationLimit ?? 7);
        root["sliding_window"] = config.SlidingWindow;
        root["layer_types"] = LayerTypes.Write(config);
        return root;
    }
}
