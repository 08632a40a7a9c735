using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Configs;

/// <summary>
/// Reads a Hugging Face <c>config.json</c> strictly. Every field is either part of the architecture, or known not to affect the numbers, or
/// an error that names it. Unknown fields are accepted only if they are null or empty. Of a multimodal model, only the text part is read.
/// </summary>
internal static class ModelConfigReader
{
    // Each has layers of its own; the largest published models have about 25,000.
    private const int MostExperts = 1 << 17;

    /// <summary>The families that can be read (<c>model_type</c>).</summary>
    public static IReadOnlyList<string> Families { get; } =
    [
        LlamaConfig.ModelType,
        MistralConfig.ModelType,
        QwenConfig.Qwen2,
        QwenConfig.Qwen3,
        Phi3Config.ModelType,
        GptNeoXConfig.ModelType,
        SmolLm3Config.ModelType,
        Ministral3Config.ModelType,
        SeedOssConfig.ModelType,
        Olmo2Config.ModelType,
        Olmo3Config.ModelType,
        GraniteConfig.ModelType,
        Exaone4Config.ModelType,
        GlmConfig.Glm,
        GlmConfig.Glm4,
        Gemma2Config.ModelType,
        Gemma3Config.ModelType,
        Gemma4Config.ModelType,
        MixtralConfig.ModelType,
        Qwen3MoeConfig.ModelType,
        GptOssConfig.ModelType,
        ArceeConfig.ModelType,
        ApertusConfig.ModelType,
        Cohere2Config.ModelType,
        HunyuanConfig.ModelType,
        Ernie45Config.ModelType,
        Qwen35Config.ModelType,
    ];

    private static readonly JsonDocumentOptions s_strict = new() { AllowDuplicateProperties = false };

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">
    /// The file is missing or not valid JSON, or a field is missing, unknown, of the wrong type, or has an unsupported value.
    /// </exception>
    public static ModelConfig ReadFile(string path) => Parse(ReadText(path), path);

    internal static string ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(File.Exists(path) ? $"Cannot read {path}: {e.Message}" : $"{path} does not exist.", e);
        }
    }

    /// <summary>Parses the text of such a file.</summary>
    /// <param name="json">The text.</param>
    /// <param name="file">Name of the file, for messages.</param>
    /// <exception cref="CheckpointException">As for <see cref="ReadFile"/>.</exception>
    public static ModelConfig Parse(string json, string file = "config.json")
    {
        try
        {
            using var document = WholeJson.Parse(json, s_strict);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException($"{file} must contain a JSON object, not {DescribeKind(document.RootElement)}.");
            return MultimodalConfig.IsMultimodal(document.RootElement)
                ? ParseTextPart(json, file)
                : Read(new ConfigFields(file, "", document.RootElement));
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{file} is not valid JSON: {e.Message}", e);
        }
    }

    /// <summary>
    /// The family of the whole model that a config describes, where its text part is only one of several; else null.
    /// </summary>
    internal static string? GetWholeFamily(string json) => MultimodalConfig.GetWhole(json);

    private static ModelConfig ParseTextPart(string json, string file)
    {
        try
        {
            using var document = WholeJson.Parse(MultimodalConfig.ExtractText(json), s_strict);
            return Read(new ConfigFields(file, "", document.RootElement));
        }
        catch (CheckpointException e)
        {
            throw MultimodalConfig.MakeError(file, MultimodalConfig.GetWhole(json)!, e);
        }
    }

    private static string DescribeKind(JsonElement element) =>
        element.ValueKind switch
        {
            JsonValueKind.Array => "a list",
            JsonValueKind.String => "a string",
            JsonValueKind.Number => "a number",
            _ => element.GetRawText(),
        };

    // To add a family, write one file like LlamaConfig, and add one line here and in ModelConfigWriter.
    private static ModelConfig Read(ConfigFields fields)
    {
        var family = fields.ReadChoice("model_type", absent: "", [.. Families]);
        var config = family switch
        {
            LlamaConfig.ModelType => LlamaConfig.Read(fields),
            MistralConfig.ModelType => MistralConfig.Read(fields),
            QwenConfig.Qwen2 or QwenConfig.Qwen3 => QwenConfig.Read(fields, family),
            Phi3Config.ModelType => Phi3Config.Read(fields),
            GptNeoXConfig.ModelType => GptNeoXConfig.Read(fields),
            SmolLm3Config.ModelType => SmolLm3Config.Read(fields),
            Ministral3Config.ModelType => Ministral3Config.Read(fields),
            SeedOssConfig.ModelType => SeedOssConfig.Read(fields),
            Olmo2Config.ModelType => Olmo2Config.Read(fields),
            Olmo3Config.ModelType => Olmo3Config.Read(fields),
            GraniteConfig.ModelType => GraniteConfig.Read(fields),
            Exaone4Config.ModelType => Exaone4Config.Read(fields),
            GlmConfig.Glm or GlmConfig.Glm4 => GlmConfig.Read(fields, family),
            Gemma2Config.ModelType => Gemma2Config.Read(fields),
            Gemma3Config.ModelType => Gemma3Config.Read(fields),
            Gemma4Config.ModelType => Gemma4Config.Read(fields),
            MixtralConfig.ModelType => MixtralConfig.Read(fields),
            Qwen3MoeConfig.ModelType => Qwen3MoeConfig.Read(fields),
            GptOssConfig.ModelType => GptOssConfig.Read(fields),
            ArceeConfig.ModelType => ArceeConfig.Read(fields),
            ApertusConfig.ModelType => ApertusConfig.Read(fields),
            Cohere2Config.ModelType => Cohere2Config.Read(fields),
            HunyuanConfig.ModelType => HunyuanConfig.Read(fields),
            Ernie45Config.ModelType => Ernie45Config.Read(fields),
            Qwen35Config.ModelType => Qwen35Config.Read(fields),
            _ => throw new InvalidOperationException($"{family} is in the list of families but has no reader."),
        };
        fields.RefuseOthers($"{family} models");
        fields.Require(
            (config.Experts?.Count ?? 0L) * config.LayerCount <= MostExperts,
            "num_hidden_layers",
            $"{config.Experts?.Count} experts in each layer would be more than {MostExperts} in all, the most that are supported"
        );
        return config;
    }
}
