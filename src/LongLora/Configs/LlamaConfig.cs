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
        fields.MarkKnown("is_llama_config", "max_sequence_length");
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
    /// <param name="rules">How the family's fields differ from Llama's; null for not at all.</param>
    public static ModelConfig ReadShape(ConfigFields fields, string modelType, ShapeRules? rules = null)
    {
        rules ??= new ShapeRules();
        CommonConfig.Check(fields, [.. rules.OwnCode]);
        if (rules.NamesDropout)
            fields.MarkKnown("attention_dropout", "residual_dropout");
        else
            fields.RequireFixed("attention_dropout", 0, "attention has no dropout");
        int Size(string name, int? absent) => fields.ReadIntegerOrNull(name) ?? absent ?? fields.ReadInteger(name);
        var width = Size("hidden_size", rules.HiddenSize);
        var heads = Size("num_attention_heads", rules.HeadCount);
        var keyValueHeads = fields.ReadIntegerOrNull("num_key_value_heads") ?? rules.KeyValueHeadCount ?? heads;
        fields.Require(heads % keyValueHeads == 0, "num_key_value_heads", $"it must divide num_attention_heads, {heads}");
        var givenHeadSize = fields.ReadIntegerOrNull("head_dim") ?? rules.HeadSize;
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
            IntermediateSize = Size("intermediate_size", rules.IntermediateSize),
            LayerCount = fields.ReadCountOrNull("num_hidden_layers") ?? rules.LayerCount ?? fields.ReadCount("num_hidden_layers"),
            HeadCount = heads,
            KeyValueHeadCount = keyValueHeads,
            HeadSize = headSize,
            VocabularySize = Size("vocab_size", rules.VocabularySize),
            MaxPositions = fields.ReadIntegerOrNull("max_position_embeddings") ?? rules.MaxPositions,
            NormEpsilon = fields.ReadPositiveOrNull(rules.EpsilonName) ?? rules.Epsilon,
            TiedEmbeddings = fields.ReadFlagOrNull("tie_word_embeddings") ?? rules.TiedEmbeddings,
            Activation = fields.ReadChoice(rules.ActivationName, rules.Activations[0], [.. rules.Activations]),
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
    public static JsonObject WriteShape(ModelConfig config, string architecture, ShapeRules? rules = null)
    {
        rules ??= new ShapeRules();
        return new()
        {
            ["architectures"] = new JsonArray(architecture),
            ["model_type"] = config.ModelType,
            [rules.ActivationName] = config.Activation,
            ["hidden_size"] = config.HiddenSize,
            ["intermediate_size"] = config.IntermediateSize,
            ["num_hidden_layers"] = config.LayerCount,
            ["num_attention_heads"] = config.HeadCount,
            ["num_key_value_heads"] = config.KeyValueHeadCount,
            ["head_dim"] = config.HeadSize,
            ["vocab_size"] = config.VocabularySize,
            ["max_position_embeddings"] = config.MaxPositions,
            [rules.EpsilonName] = CommonConfig.ToJsonNumber(config.NormEpsilon),
            ["tie_word_embeddings"] = config.TiedEmbeddings,
            ["bos_token_id"] = config.BosTokenId,
            ["eos_token_id"] = CommonConfig.ToJsonIds(config.EosTokenIds),
            ["initializer_range"] = CommonConfig.ToJsonNumber(config.InitializerRange),
        };
    }
}
