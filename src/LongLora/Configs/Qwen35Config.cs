using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>
/// The fields of a dense Qwen3.5 text <c>config.json</c> (transformers' <c>Qwen3_5TextConfig</c>), read and written.
/// </summary>
internal static class Qwen35Config
{
    public const string ModelType = "qwen3_5_text";

    private static readonly ShapeRules s_shape = new() { HeadSize = 256 };

    internal static RopeRules Rope { get; } =
        new()
        {
            Partial = 0.25,
            IsModern = true,
            Notes = ["mrope_section", "mrope_interleaved"], // a text's three positions are one
        };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        fields.RequireFixed("attn_output_gate", true, "attention has a gate on its output");
        fields.MarkKnown(
            "mamba_ssm_dtype",
            "mtp_num_hidden_layers",
            "mtp_use_dedicated_embeddings",
            "router_aux_loss_coef",
            "output_router_logits"
        );
        var period = fields.ReadIntegerOrNull("full_attention_interval") ?? 4;
        var kinds = LayerTypes.Read(
            fields,
            config.LayerCount,
            layer => (layer + 1) % period == 0 ? LayerTypes.Full : LayerTypes.Linear,
            LayerTypes.Full,
            LayerTypes.Linear
        );
        var linear = new LinearAttentionConfig
        {
            KeyHeadCount = fields.ReadIntegerOrNull("linear_num_key_heads") ?? 16,
            ValueHeadCount = fields.ReadIntegerOrNull("linear_num_value_heads") ?? 32,
            KeySize = fields.ReadIntegerOrNull("linear_key_head_dim") ?? 128,
            ValueSize = fields.ReadIntegerOrNull("linear_value_head_dim") ?? 128,
            ConvolutionSize = fields.ReadIntegerOrNull("linear_conv_kernel_dim", 2) ?? 4,
        };
        fields.Require(
            linear.ValueHeadCount % linear.KeyHeadCount == 0,
            "linear_num_value_heads",
            $"it must be a multiple of linear_num_key_heads, {linear.KeyHeadCount}"
        );
        config = (
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
                LinearAttention = linear,
            }
        ).PlanLayers((layer, plan) => plan with { IsLinear = kinds[layer] == LayerTypes.Linear });
        return RopeConfig.Read(fields, config, Rope);
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Qwen3_5ForCausalLM", s_shape);
        var linear = config.LinearAttention!;
        root["attention_bias"] = config.AttentionBias;
        root["layer_types"] = LayerTypes.Write(config);
        root["linear_num_key_heads"] = linear.KeyHeadCount;
        root["linear_num_value_heads"] = linear.ValueHeadCount;
        root["linear_key_head_dim"] = linear.KeySize;
        root["linear_value_head_dim"] = linear.ValueSize;
        root["linear_conv_kernel_dim"] = linear.ConvolutionSize;
        root["rope_parameters"] = new JsonObject();
        return root;
    }
}
