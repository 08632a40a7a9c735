using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Configs;

/// <summary>
/// Reads a Hugging Face <c>config.json</c> strictly. A field is either part of the architecture, known to say nothing about the numbers,
/// or an error that names it: a number, a flag, a text or an object that is not known is refused. Only null and empty values are passed
/// over.
/// </summary>
public static class ModelConfigReader
{
    /// <summary>The families that can be read (<c>model_type</c>).</summary>
    public static IReadOnlyList<string> Families { get; } =
    [LlamaConfig.ModelType, MistralConfig.ModelType, QwenConfig.Qwen2, QwenConfig.Qwen3, Phi3Config.ModelType, GptNeoXConfig.ModelType];

    private static readonly JsonDocumentOptions s_strict = new() { AllowDuplicateProperties = false };

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">
    /// The file is missing or no JSON, or a field is missing, unknown, of the wrong type or of an unsupported value.
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
            throw new CheckpointException(File.Exists(path) ? $"{path} cannot be read: {e.Message}" : $"{path} does not exist.", e);
        }
    }

    /// <summary>Reads the text of such a file.</summary>
    /// <param name="json">The text.</param>
    /// <param name="file">Name of the file, for messages.</param>
    /// <exception cref="CheckpointException">As for <see cref="ReadFile"/>.</exception>
    public static ModelConfig Parse(string json, string file = "config.json")
    {
        try
        {
            using var document = JsonDocument.Parse(json, s_strict);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException($"{file}: a JSON object is needed, not {DescribeKind(document.RootElement)}.");
            return Read(new ConfigFields(file, "", document.RootElement));
        }
        catch (JsonException e)
        {
            throw new CheckpointException($"{file} is not valid JSON: {e.Message}", e);
        }
    }

    private static string DescribeKind(JsonElement element) =>
        element.ValueKind switch
        {
            JsonValueKind.Array => "a list",
            JsonValueKind.String => "a text",
            JsonValueKind.Number => "a number",
            _ => element.GetRawText(),
        };

    // A family is one file like LlamaConfig and one arm here and in ModelConfigWriter.
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
            _ => throw new InvalidOperationException($"{family} is listed but has no reader."),
        };
        fields.RefuseOthers($"{family} models");
        return config;
    }
}
