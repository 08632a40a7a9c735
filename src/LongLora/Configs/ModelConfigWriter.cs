using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Configs;

/// <summary>Writes a Hugging Face <c>config.json</c>.</summary>
internal static class ModelConfigWriter
{
    private static readonly JsonSerializerOptions s_style = new()
    {
        WriteIndented = true,
        IndentSize = 2,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>The complete text of a config for a new model.</summary>
    /// <param name="config">The architecture.</param>
    /// <param name="type">The type of the weights.</param>
    public static string Create(ModelConfig config, ScalarType type = ScalarType.Float32)
    {
        var root = DescribeFamily(config);
        RopeConfig.Write(root, config);
        root["torch_dtype"] = GetTypeName(type);
        return ToText(root);
    }

    /// <summary>
    /// The text of the original with the changes of <paramref name="changed"/> and nothing else. All other fields keep their position and
    /// the spelling of their numbers. Rotary fields are written in the style of the original. Of a multimodal model, the text part is
    /// written, as a config of its own.
    /// </summary>
    /// <param name="original">Text of the config that the model was read from.</param>
    /// <param name="changed">The config that the new text should mean.</param>
    /// <param name="type">The type of the weights; null to keep what the original says.</param>
    /// <exception cref="LongLora.Runtime.CheckpointException">The original cannot be read.</exception>
    public static string Update(string original, ModelConfig changed, ScalarType? type = null)
    {
        var present = ModelConfigReader.Parse(original);
        if (present.ModelType != changed.ModelType)
            throw new ArgumentException($"Cannot change a {present.ModelType} config into a {changed.ModelType} config.", nameof(changed));
        var isPart = MultimodalConfig.GetWhole(original) is not null;
        var root = WholeJson.ParseNode(MultimodalConfig.ExtractText(original))!.AsObject();
        var before = DescribeFamily(present);
        if (isPart)
            root["architectures"] = before["architectures"]!.DeepClone();
        foreach (var (name, value) in DescribeFamily(changed))
        {
            if (!JsonNode.DeepEquals(before[name], value))
                root[name] = value?.DeepClone();
        }
        if (!JsonNode.DeepEquals(DescribePositions(present), DescribePositions(changed)))
            RopeConfig.Write(root, changed);
        if (type is { } known)
            root[root.ContainsKey("dtype") ? "dtype" : "torch_dtype"] = GetTypeName(known);
        return ToText(root);
    }

    /// <summary>The text of the original for weights in another format.</summary>
    /// <param name="original">Text of a config.</param>
    /// <param name="quantization">The new <c>quantization_config</c>; null for none.</param>
    public static string WithQuantization(string original, JsonObject? quantization)
    {
        var root = WholeJson.ParseNode(original)!.AsObject();
        root.Remove("quantization_config");
        if (quantization is not null)
            root["quantization_config"] = quantization;
        return ToText(root);
    }

    /// <summary>
    /// Only the fields that a change of the context changes: <c>max_position_embeddings</c>, <c>rope_theta</c> (GPT-NeoX:
    /// <c>rotary_emb_base</c>), <c>rope_scaling</c>, and
    /// <c>original_max_position_embeddings</c>; for families that transformers 4 does not have, <c>rope_parameters</c>. Written over those
    /// of the base model's config, they give the new model's config.
    /// </summary>
    public static JsonObject DescribePositions(ModelConfig config)
    {
        var root = new JsonObject { ["max_position_embeddings"] = config.MaxPositions };
        if (RopeRules.Of(config).IsModern)
        {
            root["rope_parameters"] = new JsonObject();
            RopeConfig.Write(root, config);
            return root;
        }
        root["rope_scaling"] = new JsonObject { ["rope_type"] = "default" };
        RopeConfig.Write(root, config);
        root.TryAdd("original_max_position_embeddings", null);
        return root;
    }

    private static JsonObject DescribeFamily(ModelConfig config) =>
        config.ModelType switch
        {
            LlamaConfig.ModelType => LlamaConfig.Write(config),
            MistralConfig.ModelType => MistralConfig.Write(config),
            QwenConfig.Qwen2 or QwenConfig.Qwen3 => QwenConfig.Write(config),
            Phi3Config.ModelType => Phi3Config.Write(config),
            GptNeoXConfig.ModelType => GptNeoXConfig.Write(config),
            SmolLm3Config.ModelType => SmolLm3Config.Write(config),
            Ministral3Config.ModelType => Ministral3Config.Write(config),
            SeedOssConfig.ModelType => SeedOssConfig.Write(config),
            Olmo2Config.ModelType => Olmo2Config.Write(config),
            Olmo3Config.ModelType => Olmo3Config.Write(config),
            GraniteConfig.ModelType => GraniteConfig.Write(config),
            Exaone4Config.ModelType => Exaone4Config.Write(config),
            GlmConfig.Glm or GlmConfig.Glm4 => GlmConfig.Write(config),
            Gemma2Config.ModelType => Gemma2Config.Write(config),
            Gemma3Config.ModelType => Gemma3Config.Write(config),
            Gemma4Config.ModelType => Gemma4Config.Write(config),
            MixtralConfig.ModelType => MixtralConfig.Write(config),
            Qwen3MoeConfig.ModelType => Qwen3MoeConfig.Write(config),
            GptOssConfig.ModelType => GptOssConfig.Write(config),
            ArceeConfig.ModelType => ArceeConfig.Write(config),
            ApertusConfig.ModelType => ApertusConfig.Write(config),
            Cohere2Config.ModelType => Cohere2Config.Write(config),
            HunyuanConfig.ModelType => HunyuanConfig.Write(config),
            Ernie45Config.ModelType => Ernie45Config.Write(config),
            Qwen35Config.ModelType => Qwen35Config.Write(config),
            _ => throw new ArgumentException(
                $"Cannot write a config of type '{config.ModelType}'. The supported types are "
                    + $"{string.Join(", ", ModelConfigReader.Families)}.",
                nameof(config)
            ),
        };

    private static string GetTypeName(ScalarType type) =>
        type switch
        {
            ScalarType.Float32 => "float32",
            ScalarType.Float16 => "float16",
            ScalarType.BFloat16 => "bfloat16",
            ScalarType.Float64 => "float64",
            _ => throw new ArgumentException($"Cannot store a model's weights as {type}.", nameof(type)),
        };

    private static string ToText(JsonObject root) => PythonNumber.KeepFloats(root)!.ToJsonString(s_style) + "\n";
}
