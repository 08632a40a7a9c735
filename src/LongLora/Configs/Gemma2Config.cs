using System.Text.Json.Nodes;
using LongLora.Runtime;

namespace LongLora.Configs;

/// <summary>The fields of a Gemma 2 <c>config.json</c> (transformers' <c>Gemma2Config</c>), read and written.</summary>
internal static class Gemma2Config
{
    public const string ModelType = "gemma2";

    private static readonly ShapeRules s_shape = new()
    {
        ActivationName = "hidden_activation",
        Activations = ["gelu_pytorch_tanh", "gelu"],
        HeadSize = 256,
        TiedEmbeddings = true,
        MaxPositions = 8192,
    };

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = ReadScores(fields, LlamaConfig.ReadShape(fields, ModelType, s_shape), scoreCap: 50, logitCap: 30);
        return RopeConfig.Read(fields, LayerTypes.ReadWindows(fields, config, window: 4096, period: 2));
    }

    /// <summary>The factors and caps that Gemma 2 and 3 share.</summary>
    internal static ModelConfig ReadScores(ConfigFields fields, ModelConfig config, double? scoreCap, double? logitCap)
    {
        double? Cap(string name, double? absent) => fields.ReadPositiveOrNull(name) ?? (fields.Contains(name) ? null : absent);
        // A second name of hidden_activation in older files, which transformers ignores.
        fields.MarkKnown("hidden_act");
        fields.RequireFixed("use_bidirectional_attention", false, "a position can look only at earlier ones");
        return config with
        {
            AttentionBias = fields.ReadFlagOrNull("attention_bias") ?? false,
            EmbeddingFactor = Math.Sqrt(config.HiddenSize),
            AttentionScale = 1 / Math.Sqrt(fields.ReadPositiveOrNull("query_pre_attn_scalar") ?? 256),
            ScoreCap = Cap("attn_logit_softcapping", scoreCap),
            LogitCap = Cap("final_logit_softcapping", logitCap),
        };
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "Gemma2ForCausalLM", s_shape);
        WriteScores(root, config);
        return root;
    }

    /// <summary>What <see cref="ReadScores"/> reads, and the windows.</summary>
    internal static void WriteScores(JsonObject root, ModelConfig config)
    {
        root["attention_bias"] = config.AttentionBias;
        // The scalar is an integer in every file; its root is not.
        root["query_pre_attn_scalar"] = PythonNumber.ToJson(Math.Round(Math.Pow(config.AttentionScale ?? 1, -2), 6));
        root["attn_logit_softcapping"] = config.ScoreCap is { } scores ? CommonConfig.ToJsonNumber(scores) : null;
        root["final_logit_softcapping"] = config.LogitCap is { } logits ? CommonConfig.ToJsonNumber(logits) : null;
        root["sliding_window"] = config.SlidingWindow;
        root["layer_types"] = LayerTypes.Write(config);
    }
}
