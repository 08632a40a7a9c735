using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Llama <c>config.json</c> (transformers' <c>LlamaConfig</c>), read and written.</summary>
internal static class LlamaConfig
{
    public const string ModelType = "llama";

    public static ModelConfig Read(ConfigFields fields)
    {
        fields.RequireFixed("pretraining_tp", 1, "other values only split products that give the same result in one step. Set it to 1");
        fields.RequireFixed("rope_interleaved", false, "q and k must be in Hugging Face's layout");
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

    /// <summary>Reads the fields that Llama and its relatives share, except the rotary fields and biases.</summary>
    /// <param name="fields">The file.</param>
    /// <param name="modelType">The family.</param>
    /// <param name="ownCode">As for <see cref="CommonConfig.Check"/>.</param>
    public static ModelConfig ReadShape(ConfigFields fields, string modelType, params string[] ownCode)
    {
        CommonConfig.Check(fields, ownCode);
        fields.RequireFixed("attention_dropout", 0, "attention has no dropout");
        var width = fields.ReadInteger("hidden_size");
        var heads = fields.ReadInteger("num_attention_heads");
        var keyValueHeads = fields.ReadIntegerOrNull("num_key_value_heads") ?? heads;
        fields.Require(heads % keyValueHeads == 0, "num_key_value_heads", $"it must divide num_attention_heads, {heads}");
        var givenHeadSize = fields.ReadIntegerOrNull("head_dim");
        fields.Require(
            givenHeadSize is not null || width % heads == 0,
            "hidden_size",
            $"it must be a multiple of num_attention_heads, {heads}, if there is no head_dim"
        );
        var headSize = givenHeadSize ?? width / heads;
        fields.Require(headSize % 2 == 0, "head_dim", $"it must be even because RoPE rotates pairs of numbers, and a head has {headSize}");

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
            MaxPositions = fields.ReadIntegerOrNull("max_position_embeddings") ?? 0, // families without a default require it
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

    /// <summary>Writes what <see cref="ReadShape"/> reads.</summary>
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
