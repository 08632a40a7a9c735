using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Mixtral <c>config.json</c> (transformers' <c>MixtralConfig</c>), read and written.</summary>
internal static class MixtralConfig
{
    public const string ModelType = "mixtral";

    private static readonly ShapeRules s_shape = new() { Epsilon = 1e-5 };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType, s_shape);
        fields.ReadInteger("num_key_value_heads");
        fields.RequireFixed("router_jitter_noise", 0, "noise in routers is not supported");
        config = config with
        {
            MaxPositions = fields.ReadInteger("max_position_embeddings"),
            SlidingWindow = fields.ReadIntegerOrNull("sliding_window"),
            Experts = ReadExperts(fields, config.IntermediateSize),
        };
        return RopeConfig.Read(fields, config);
    }

    /// <summary>Reads the fields that mixtures share. In transformers 5 the number of experts has the same name in all of them.</summary>
    internal static ExpertConfig ReadExperts(ConfigFields fields, int size)
    {
        // How Python trains its routers.
        fields.MarkKnown("router_aux_loss_coef", "output_router_logits");
        var (count, formerly) = (fields.ReadCountOrNull("num_local_experts"), fields.ReadCountOrNull("num_experts"));
        fields.Require(
            count is null || formerly is null || count == formerly,
            "num_local_experts",
            $"the file also has num_experts, which is {formerly}"
        );
        var experts = new ExpertConfig
        {
            Count = count ?? formerly ?? fields.ReadCount("num_local_experts"),
            PerToken = fields.ReadInteger("num_experts_per_tok"),
            Size = size,
        };
        fields.Require(experts.PerToken <= experts.Count, "num_experts_per_tok", $"there are only {experts.Count} experts");
        return experts;
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "MixtralForCausalLM", s_shape);
        root["sliding_window"] = config.SlidingWindow;
        root["num_local_experts"] = config.Experts!.Count;
        root["num_experts_per_tok"] = config.Experts.PerToken;
        return root;
    }
}
