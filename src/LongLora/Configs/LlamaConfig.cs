using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Llama <c>config.json</c> (transformers' <c>LlamaConfig</c>), read and written.</summary>
internal static class LlamaConfig
{
    public const string ModelType = "llama";

    public static ModelConfig Read(ConfigFields fields)
    {
        fields.RequireFixed("pretraining_tp", 1, "it only splits products that are the same in one piece, so it can be set to 1");
        fields.RequireFixed("rope_interleaved", false, "Hugging Face's layout of q and k is needed");
        fields.MarkKnown("is_llama_config");
        fields.MarkKnown("max_sequence_length");
        return RopeConfig.Read(
            fields,
            ReadShape(fields, ModelType) with
            {
                MaxPositions = fields.ReadIntegerOrNull("max_position_embeddings") ?? 2048,
                AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
                MlpBias = fields.ReadFlagOrNull("mlp_bias") ?? false,
            }
        );
    }

    /// <summary>The fields that Llama and its relatives share, rotary ones and biases aside.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="modelType">The family.</param>
    /// <param name="ownCode">As for <see cref="CommonConfig.Check"/>.</param>
    public static ModelConfig ReadShape(ConfigFields fields, string modelType, params string[] ownCode)
    {
        CommonConfig.Check(fields, ownCode);
        fields.RequireFixed("attention_dropout", 0, "there is no dropout in attention");
        var width = fields.ReadInteger("hidden_size");
        var heads = fields.ReadInteger("num_attention_heads");
        var keyValueHeads = fields.ReadIntegerOrNull("num_key_value_heads") ?? heads;
        fields.Require(heads % keyValueHeads == 0, "num_key_value_heads", $"it must divide num_attention_heads, {heads}");
        var givenHeadSize = fields.ReadIntegerOrNull("head_dim");
        fields.Require(
            givenHeadSize is not null || width % heads == 0,
            "hidden_size",
            $"without a head_dim it must be a multiple of num_attention_heads, {heads}"
        );
        var headSize = givenHeadSize ?? width / heads;
        fields.Require(headSize % 2 == 0, "head_dim", $"a head of {headSize} numbers cannot be turned in pairs");

        return new ModelConfig
        {
            ModelType = modelType,
            HiddenSize = width,
            IntermediateSize = fields.ReadInteger("intermediate_size"),
            LayerCount = fields.ReadInteger("num_hidden_layers"),
            HeadCount = heads,
            KeyValueHeadCount = keyValueHeads,
            HeadSize = headSize,
            VocabularySize = fields.ReadInteger("vocab_size"),
            MaxPositions = fields.ReadIntegerOrNull("max_position_embeddings") ?? 0, // a family without a default asks for it
            NormEpsilon = fields.ReadPositiveOrNull("rms_norm_eps") ?? 1e-6,
            TiedEmbeddings = fields.ReadFlagOrNull("tie_word_embeddings") ?? false,
            Activation = fields.ReadChoice("hidden_act", absent: "silu", "silu"),
            BosTokenId = fields.ReadIntegerOrNull("bos_token_id", minimum: 0),
            EosTokenIds = fields.ReadIntegers("eos_token_id", minimum: 0),
            InitializerRange = fields.ReadNumberOrNull("initializer_range", 0) ?? 0.02,
        };
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = WriteShape(config, "LlamaForCausalLM");
        root["attention_bias"] = config.AttentionBias;
        root["mlp_bias"] = config.MlpBias;
        return root;
    }

    /// <summary>What <see cref="ReadShape"/> reads.</summary>
    public static JsonObject WriteShape(ModelConfig config, string architecture) =>
        new()
        {
            ["architectures"] = new JsonArray(architecture),
            ["model_type"] = config.ModelType,
            ["hidden_act"] = config.Activation,
            ["hidden_size"] = config.HiddenSize,
            ["intermediate_size"] = config.IntermediateSize,
            ["num_hidden_layers"] = config.LayerCount,
            ["num_attention_heads"] = config.HeadCount,
            ["num_key_value_heads"] = config.KeyValueHeadCount,
            ["head_dim"] = config.HeadSize,
            ["vocab_size"] = config.VocabularySize,
            ["max_position_embeddings"] = config.MaxPositions,
            ["rms_norm_eps"] = CommonConfig.ToJsonNumber(config.NormEpsilon),
            ["tie_word_embeddings"] = config.TiedEmbeddings,
            ["bos_token_id"] = config.BosTokenId,
            ["eos_token_id"] = CommonConfig.ToJsonIds(config.EosTokenIds),
            ["initializer_range"] = CommonConfig.ToJsonNumber(config.InitializerRange),
        };
}
