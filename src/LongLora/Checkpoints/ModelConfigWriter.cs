using System.Text.Json;
using System.Text.Json.Nodes;

namespace LongLora.Checkpoints;

/// <summary>Writes <c>config.json</c>.</summary>
public static class ModelConfigWriter
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    /// <summary>A config with what may change in a model written anew, every other field as it was.</summary>
    /// <param name="original">The text of the base model's <c>config.json</c>.</param>
    /// <param name="config">The model as it is now.</param>
    public static string Update(string original, ModelConfig config)
    {
        var json = JsonNode.Parse(original)!.AsObject();
        json["max_position_embeddings"] = config.MaxPositions;
        json["vocab_size"] = config.VocabularySize;
        var scaling = Scaling(config.RopeScaling);
        if (json["rope_parameters"] is JsonObject)
        {
            var parameters = scaling ?? new JsonObject { ["rope_type"] = "default" };
            parameters["rope_theta"] = config.RopeTheta;
            json["rope_parameters"] = parameters;
        }
        else
        {
            json["rope_scaling"] = scaling;
        }
        return json.ToJsonString(s_indented) + "\n";
    }

    /// <summary>A complete config for a model made here.</summary>
    public static string Create(ModelConfig config)
    {
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray("LlamaForCausalLM"),
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
            ["rms_norm_eps"] = config.NormEpsilon,
            ["rope_theta"] = config.RopeTheta,
            ["rope_scaling"] = Scaling(config.RopeScaling),
            ["tie_word_embeddings"] = config.TiedEmbeddings,
            ["attention_bias"] = config.AttentionBias,
            ["mlp_bias"] = config.MlpBias,
            ["bos_token_id"] = config.BosTokenId,
            ["eos_token_id"] = config.EosTokenIds.Count switch
            {
                0 => null,
                1 => config.EosTokenIds[0],
                _ => new JsonArray([.. config.EosTokenIds.Select(id => (JsonNode)id)]),
            },
            ["initializer_range"] = config.InitializerRange,
            ["torch_dtype"] = "float32",
        };
        return json.ToJsonString(s_indented) + "\n";
    }

    // Both spellings of the kind: readers before transformers 4.43 know only "type".
    private static JsonObject? Scaling(RopeScalingConfig scaling)
    {
        if (scaling.Kind == "default")
            return null;
        var json = new JsonObject { ["rope_type"] = scaling.Kind, ["type"] = scaling.Kind };
        void Add(string name, JsonNode? value)
        {
            if (value is not null)
                json[name] = value;
        }
        Add("factor", scaling.Kind == "longrope" && scaling.Factor == 1 ? null : scaling.Factor);
        Add("original_max_position_embeddings", scaling.OriginalMaxPositions);
        Add("attention_factor", scaling.AttentionFactor);
        Add("beta_fast", scaling.BetaFast);
        Add("beta_slow", scaling.BetaSlow);
        Add("mscale", scaling.Mscale);
        Add("mscale_all_dim", scaling.MscaleAllDim);
        Add("truncate", scaling.Truncate);
        Add("low_freq_factor", scaling.LowFrequencyFactor);
        Add("high_freq_factor", scaling.HighFrequencyFactor);
        Add("short_factor", Numbers(scaling.ShortFactors));
        Add("long_factor", Numbers(scaling.LongFactors));
        return json;
    }

    private static JsonArray? Numbers(IReadOnlyList<double>? numbers) => numbers is null ? null : new JsonArray([.. numbers.Select(x => (JsonNode)x)]);
}
