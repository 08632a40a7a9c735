using System.Text.Json.Nodes;

namespace LongLora.Configs;

/// <summary>The fields of a Mistral <c>config.json</c> (transformers' <c>MistralConfig</c>), read and written.</summary>
internal static class MistralConfig
{
    public const string ModelType = "mistral";

    // transformers' default if the field is absent; null means no window.
    private const int AbsentWindow = 4096;

    public static ModelConfig Read(ConfigFields fields)
    {
        var config = LlamaConfig.ReadShape(fields, ModelType);
        fields.ReadInteger("num_key_value_heads");
        return RopeConfig.Read(
            fields,
            config with
            {
                MaxPositions = fields.ReadInteger("max_position_embeddings"),
                SlidingWindow = fields.Contains("sliding_window") ? fields.ReadIntegerOrNull("sliding_window") : AbsentWindow,
            }
        );
    }

    public static JsonObject Write(ModelConfig config)
    {
        var root = LlamaConfig.WriteShape(config, "MistralForCausalLM");
        root["sliding_window"] = config.SlidingWindow;
        return root;
    }
}
