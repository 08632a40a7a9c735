using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Export;

/// <summary>
/// Adds LongLoRA's <c>[PAD]</c> to the tokenizer files of a folder whose model has one row more than its tokenizer has tokens. Without it,
/// Python would get the vocabulary size wrong.
/// </summary>
internal static class PaddingToken
{
    private const string Text = "[PAD]";

    private static readonly JsonSerializerOptions s_style = new()
    {
        WriteIndented = true,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Adds it as the last token if exactly this token is missing.</summary>
    /// <param name="folder">Folder with tokenizer files.</param>
    /// <param name="vocabularySize">V of the model.</param>
    public static void AddIfMissing(string folder, int vocabularySize)
    {
        if (
            TokenizerLoader.LoadIfPresent(folder) is not { } tokenizer
            || tokenizer.VocabularySize != vocabularySize - 1
            || tokenizer.FindToken(Text) is not null
        )
            return;
        var id = tokenizer.VocabularySize;
        var token = new JsonObject
        {
            ["content"] = Text,
            ["lstrip"] = false,
            ["normalized"] = false,
            ["rstrip"] = false,
            ["single_word"] = false,
            ["special"] = true,
        };
        Change(folder, "added_tokens.json", needed: File.Exists(Path.Combine(folder, "tokenizer.model")), root => root[Text] = id);
        Change(folder, "special_tokens_map.json", needed: true, root => root["pad_token"] = Text);
        Change(folder, "tokenizer_config.json", needed: true, root =>
        {
            root["pad_token"] = Text;
            if (root["added_tokens_decoder"] is JsonObject listed)
                listed[$"{id}"] = token.DeepClone();
        });
        Change(folder, "tokenizer.json", needed: false, root =>
        {
            if (root["added_tokens"] is not JsonArray listed)
                root["added_tokens"] = listed = [];
            var entry = (JsonObject)token.DeepClone();
            entry.Insert(0, "id", id);
            listed.Add((JsonNode)entry);
        });
    }

    private static void Change(string folder, string name, bool needed, Action<JsonObject> change)
    {
        var path = Path.Combine(folder, name);
        if (!File.Exists(path) && !needed)
            return;
        try
        {
            var root = File.Exists(path) ? WholeJson.ParseNode(File.ReadAllText(path))!.AsObject() : [];
            change(root);
            AtomicFile.WriteText(path, PythonNumber.KeepFloats(root)!.ToJsonString(s_style) + "\n");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new CheckpointException($"{path} is not a JSON object: {e.Message}", e);
        }
    }
}
