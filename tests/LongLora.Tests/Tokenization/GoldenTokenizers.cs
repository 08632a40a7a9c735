using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Tokenization;

namespace LongLora.Tests.Tokenization;

/// <summary>The small tokenizers of Goldens/tokenizers, put together as model folders.</summary>
internal static class GoldenTokenizers
{
    /// <summary>Three SentencePiece models.</summary>
    public static readonly string[] SentencePieceModels = ["bpe", "unigram", "unknown"];

    /// <summary>Ways to tokenise over two vocabularies, as tokenizer.json describes them.</summary>
    public static readonly string[] JsonVariants =
    [
        "gpt-neox",
        "llama3",
        "qwen",
        "mixed",
        "words",
        "mistral",
        "llama2",
        "metaspace",
        "unfused",
    ];

    /// <summary>A golden file as JSON.</summary>
    public static JsonNode Read(string name) => JsonNode.Parse(File.ReadAllText(SharedMaterial.Golden("tokenizers", name)))!;

    /// <summary>A list of numbers.</summary>
    public static int[] Ids(JsonNode? node) => node.Deserialize<int[]>()!;

    /// <summary>The text of the tokenizer.json of a variant: the model of its vocabulary, and what the variant sets beside it.</summary>
    public static JsonObject Json(string variant)
    {
        var described = Read("huggingface.json")["variants"]![variant]!;
        var model = Read(described["base"]!.GetValue<string>() + ".model.json").AsObject();
        foreach (var (name, value) in described["model"]!.AsObject())
            model[name] = value?.DeepClone();
        if (described["mergePairs"]!.GetValue<bool>())
            model["merges"] = new JsonArray([
                .. model["merges"]!
                    .AsArray()
                    .Select(m => new JsonArray([.. m!.GetValue<string>().Split(' ').Select(p => JsonValue.Create(p))])),
            ]);
        var json = new JsonObject { ["version"] = "1.0", ["model"] = model };
        foreach (var (name, value) in described["set"]!.AsObject())
            json[name] = value?.DeepClone();
        return json;
    }

    /// <summary>A tokenizer by the name of its SentencePiece model or its variant.</summary>
    public static ITokenizer Open(string name)
    {
        using var folder = new TemporaryFolder();
        Write(folder, name);
        return TokenizerLoader.Load(folder.Root);
    }

    /// <summary>Writes the file of a tokenizer into a folder.</summary>
    public static void Write(TemporaryFolder folder, string name)
    {
        if (SentencePieceModels.Contains(name))
            File.Copy(SharedMaterial.Golden("tokenizers", name + ".model"), folder["tokenizer.model"], overwrite: true);
        else
            folder.Text("tokenizer.json", Json(name).ToJsonString());
    }

    /// <summary>Opens the tokenizer that a folder holds once the given files are in it.</summary>
    public static ITokenizer Open(string name, params (string File, string Text)[] files)
    {
        using var folder = new TemporaryFolder();
        Write(folder, name);
        foreach (var (file, text) in files)
            folder.Text(file, text);
        return TokenizerLoader.Load(folder.Root);
    }
}
