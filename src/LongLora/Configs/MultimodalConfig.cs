using System.Text.Json;
using LongLora.Runtime;

namespace LongLora.Configs;

/// <summary>
/// The text part of a config for more than text: the content of its <c>text_config</c>, with the fields that transformers keeps for the
/// whole model.
/// </summary>
internal static class MultimodalConfig
{
    // Given once for all parts. The text's own fields take precedence.
    private static readonly string[] s_shared =
    [
        "torch_dtype",
        "dtype",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "tie_word_embeddings",
        "initializer_range",
        "quantization_config",
        "transformers_version",
    ];

    /// <summary>Whether a config has a text part and other parts.</summary>
    public static bool IsMultimodal(JsonElement root) =>
        root.ValueKind == JsonValueKind.Object
        && root.TryGetProperty("text_config", out var text)
        && text.ValueKind == JsonValueKind.Object;

    /// <summary>The family of the whole model, such as <c>gemma3</c>; null for a text model.</summary>
    /// <param name="json">Text of a config that has been read before.</param>
    public static string? GetWhole(string json)
    {
        using var document = WholeJson.Parse(json);
        var root = document.RootElement;
        return IsMultimodal(root) ? (root.TryGetProperty("model_type", out var type) ? type.ToString() : "multimodal") : null;
    }

    /// <summary>The config of the text part; the same text if the config is for text only.</summary>
    public static string ExtractText(string json)
    {
        using (var document = WholeJson.Parse(json))
        {
            if (!IsMultimodal(document.RootElement))
                return json;
        }
        var root = WholeJson.ParseNode(json)!.AsObject();
        var text = root["text_config"]!.DeepClone().AsObject();
        foreach (var name in s_shared)
        {
            if (root[name] is { } value && (text[name] is null || name == "eos_token_id"))
                text[name] = value.DeepClone();
        }
        if (text.ContainsKey("dtype"))
            text.Remove("torch_dtype");
        text.Remove("architectures");
        return text.ToJsonString();
    }

    /// <summary>The message for a text part that cannot be read.</summary>
    public static CheckpointException MakeError(string file, string whole, CheckpointException reason) =>
        new($"{file} describes a {whole} model, and only its text part (text_config) is read. {reason.Message}", reason);
}
