using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a GPT-NeoX <c>config.json</c> (transformers' <c>GPTNeoXConfig</c>), read and written.</summary>
internal static class GptNeoXConfig
{
    public const string ModelType = "gpt_neox";

    public static ModelConfig Read(ConfigFields fields)
    {
        CommonConfig.Check(fields);
        foreach (var name in (string[])["attention_dropout", "hidden_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob"])
            fields.RequireFixed(name, 0, "dropout is not supported");
        int width = fields.ReadInteger("hidden_size"),
            heads = fields.ReadInteger("num_attention_heads");
        fields.Require(width % heads == 0, "hidden_size", $"it must be a multiple of num_attention_heads, {heads}");

        var config = new ModelConfig
        {
            ModelType = ModelType,
            HiddenSize = width,
            IntermediateSize = fields.ReadInteger("intermediate_size"),
            LayerCount = fields.ReadCount("num_hidden_layers"),
            HeadCount = heads,
            KeyValueHeadCount = heads,
            HeadSize = width / heads,
            VocabularySize = fields.ReadInteger("vocab_size"),
            MaxPositions = fields.ReadIntegerOrNull("max_position_embeddings") ?? 2048,
            NormEpsilon = fields.ReadPositiveOrNull("layer_norm_eps") ?? 1e-5,
            TiedEmbeddings = fields.ReadFlagOrNull("tie_word_embeddings") ?? false,
            AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? true,
            MlpBias = true,
            ParallelResidual = fields.ReadFlagOrNull("use_parallel_residual") ?? true,
            Activation = fields.ReadChoice("hidden_act", absent: "gelu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"),
            BosTokenId = fields.ReadIntegerOrNull("bos_token_id", minimum: 0),
            EosTokenIds = fields.ReadIntegers("eos_token_id", minimum: 0),
            InitializerRange = fields.ReadNumberOrNull("initializer_range", 0) ?? 0.02,
        };
        return RopeConfig.Read(fields, config, new RopeRules { PartialName = "rotary_pct", Partial = 0.25 });
    }

    public static JsonObject Write(ModelConfig config) =>
        new()
        {
            ["architectures"] = new JsonArray("GPTNeoXForCausalLM"),
            ["model_type"] = ModelType,
            ["hidden_act"] = config.Activation,
            ["hidden_size"] = config.HiddenSize,
            ["intermediate_size"] = config.IntermediateSize,
            ["num_hidden_layers"] = config.LayerCount,
            ["num_attention_heads"] = config.HeadCount,
            ["vocab_size"] = config.VocabularySize,
            ["max_position_embeddings"] = config.MaxPositions,
            ["layer_norm_eps"] = CommonConfig.ToJsonNumber(config.NormEpsilon),
            ["rotary_pct"] = CommonConfig.ToJsonNumber((double)config.RotarySize / config.HeadSize),
            ["use_parallel_residual"] = config.ParallelResidual,
            ["tie_word_embeddings"] = config.TiedEmbeddings,
            ["attention_bias"] = config.AttentionBias,
            ["bos_token_id"] = config.BosTokenId,
            ["eos_token_id"] = CommonConfig.ToJsonIds(config.EosTokenIds),
            ["initializer_range"] = CommonConfig.ToJsonNumber(config.InitializerRange),
        };
}
