using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Phi-3, Phi-3.5 or Phi-4 <c>config.json</c> (transformers' <c>Phi3Config</c>), read and written.</summary>
internal static class Phi3Config
{
    public const string ModelType = "phi3";

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, new ShapeRules { OwnCode = ["Phi3Config", "Phi3Model", "Phi3ForCausalLM"] });
        fields.ReadInteger("num_key_value_heads");
        fields.RequireFixed("embd_pdrop", 0, "dropout is not supported");
        fields.RequireFixed("resid_pdrop", 0, "dropout is not supported");
        fields.RequireFixed("attention_bias", false, "Phi-3 has no biases");
        fields.RequireFixed("mlp_bias", false, "Phi-3 has no biases");
        fields.RequireFixed("lm_head_bias", false, "Phi-3 has no biases");
        // Fields of Phi-4-mini that transformers does not have.
        fields.RequireFixed("full_attn_mod", 1, "all layers are the same");
        fields.RequireFixed("interpolate_factor", 1, "rope_scaling rescales positions");
        config = RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                SlidingWindow = fields.ReadIntegerOrNull("sliding_window"),
            },
            new RopeRules { Partial = 1 }
        );
        // A longrope config without the field uses transformers' default.
        var scaling = config.RopeScaling;
        return scaling is { Kind: "longrope", OriginalMaxPositions: null }
            ? config with
            {
                RopeScaling = scaling with { OriginalMaxPositions = 4096 },
            }
            : config;
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Phi3ForCausalLM");
        if (config.RopeScaling.OriginalMaxPositions is { } original)
            root["original_max_position_embeddings"] = original;
        if (config.RotarySize != config.HeadSize)
            root["partial_rotary_factor"] = CommonConfig.ToJsonNumber((double)config.RotarySize / config.HeadSize);
        root["sliding_window"] = config.SlidingWindow;
        return root;
    }
}
