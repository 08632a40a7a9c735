using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Loading;

/// <summary>
/// A model in GGUF, one file or the parts of a split one: architecture, weights under Hugging Face's names, tokenizer, chat template and
/// generation settings. Opening it reads the header alone.
/// </summary>
internal sealed class GgufModel : IModelFiles, IDisposable
{
    private static readonly JsonSerializerOptions s_style = new()
    {
        WriteIndented = true,
        IndentSize = 2,
        NewLine = "\n",
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    // Keys of the file and what transformers calls them.
    private static readonly (string Key, string Name, bool IsWhole)[] s_sampling =
    [
        ("temp", "temperature", false),
        ("top_k", "top_k", true),
        ("top_p", "top_p", false),
        ("min_p", "min_p", false),
        ("penalty_repeat", "repetition_penalty", false),
    ];

    private readonly GgufFileSet _files;
    private readonly GgufTensors _tensors;
    private readonly Lazy<ITokenizer?> _tokenizer;

    private GgufModel(GgufFileSet files, string path)
    {
        (_files, Path) = (files, path);
        (Config, var layout) = GgufConfig.Read(GgufContents.Of(files));
        _tensors = new GgufTensors(files, layout, Config);
        Vocabulary = GgufVocabulary.Read(files.Main);
        if (Vocabulary is not null && Vocabulary.Tokens.Count > Config.VocabularySize)
            throw new CheckpointException(
                $"{path}: its tokenizer has {Vocabulary.Tokens.Count} tokens, but the model has rows for {Config.VocabularySize}. They do "
                    + "not belong together; fetch or write the file again."
            );
        _tokenizer = new(() => Vocabulary is null ? null : GgufTokenizerReader.Build(Vocabulary));
        Architecture = layout.Architecture;
    }

    /// <summary>The file that was given.</summary>
    public string Path { get; }

    /// <summary>All files, the first part first.</summary>
    public IReadOnlyList<string> Files => [.. _files.Files.Select(f => f.Path)];

    /// <inheritdoc/>
    public IReadOnlyList<string> ContentFiles => Files;

    /// <summary><c>general.architecture</c>, such as <c>llama</c>.</summary>
    public string Architecture { get; }

    /// <summary>The model's name as the file gives it, or the file's name without its ending.</summary>
    public string Name =>
        new GgufMetadata(_files.Main).TextOrNull("general.name") is { Length: > 0 } name
            ? name
            : System.IO.Path.GetFileNameWithoutExtension(Path);

    /// <summary>The license that the file names; null where it names none.</summary>
    public string? License => new GgufMetadata(_files.Main).TextOrNull("general.license");

    /// <summary>The architecture.</summary>
    public ModelConfig Config { get; }

    /// <summary>The same as the text of a <c>config.json</c>.</summary>
    public string ConfigText => ModelConfigWriter.Create(Config);

    /// <summary>
    /// The weights under Hugging Face's names. Quantized ones are widened to fp32 when they are opened, one at a time; F32, F16 and BF16
    /// tensors are the mapped file. The model owns the source: it is closed with it.
    /// </summary>
    public ITensorSource Weights => _tensors;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, TensorInfo> Tensors => _tensors.Tensors;

    /// <summary>The tensors as they are stored, by their names in the file.</summary>
    public IEnumerable<GgufTensorInfo> StoredTensors => _files.Tensors.Values.Select(t => t.Info);

    /// <summary>
    /// Bytes that the decoder's matrices take when they are kept as they are stored, and bytes that all other tensors take when the model
    /// is open.
    /// </summary>
    internal (long Matrices, long Others) KeptBytes
    {
        get
        {
            var matrices = StoredTensors.Where(t => t.Shape.Count > 1 && t.Name.StartsWith("blk.", StringComparison.Ordinal)).ToList();
            var names = matrices.Select(t => t.Name).ToHashSet(StringComparer.Ordinal);
            return (
                matrices.Sum(t => t.ByteCount),
                StoredTensors
                    .Where(t => !names.Contains(t.Name))
                    .Sum(t => GgufFormat.BlockSize(t.Type) > 1 ? sizeof(float) * t.ElementCount : t.ByteCount)
            );
        }
    }

    /// <summary>Bytes of all tensors when the model is open and nothing is kept in blocks.</summary>
    internal long OpenedBytes => Tensors.Values.Sum(t => t.ByteCount);

    /// <summary>Bytes of all tensors as they are stored.</summary>
    public long StoredBytes => StoredTensors.Sum(t => t.ByteCount);

    /// <summary>The tokenizer; null where the file has none. Built when it is first asked for.</summary>
    public ITokenizer? Tokenizer => _tokenizer.Value;

    /// <summary>The model's own chat template in Jinja; null where the file has none.</summary>
    public string? ChatTemplate => Vocabulary?.ChatTemplates.GetValueOrDefault("default");

    /// <summary>All chat templates by name; the model's own is <c>default</c>.</summary>
    public IReadOnlyDictionary<string, string> ChatTemplates => Vocabulary?.ChatTemplates ?? new Dictionary<string, string>();

    /// <summary>Ids of the tokens that end an answer, the one that ends a text first.</summary>
    public IReadOnlyList<int> EndTokenIds => Vocabulary?.Ends ?? Config.EosTokenIds;

    /// <summary>
    /// The generation settings as the text of a <c>generation_config.json</c>: end tokens, and sampling where the file gives it.
    /// </summary>
    public string GenerationConfigText
    {
        get
        {
            var keys = new GgufMetadata(_files.Main);
            var root = new JsonObject
            {
                ["bos_token_id"] = Vocabulary?.Bos ?? Config.BosTokenId,
                ["eos_token_id"] = EndTokenIds is [var only] ? only : new JsonArray([.. EndTokenIds.Select(id => (JsonNode)id)]),
                ["pad_token_id"] = Vocabulary?.Padding,
            };
            foreach (var name in root.Where(p => p.Value is null or JsonArray { Count: 0 }).Select(p => p.Key).ToList())
                root.Remove(name);
            foreach (var (key, name, isWhole) in s_sampling)
            {
                if (keys.NumberOrNull("general.sampling." + key, 0) is not { } value)
                    continue;
                root["do_sample"] = true;
                root[name] = isWhole ? (JsonNode)(int)value : value;
            }
            return PythonNumber.KeepFloats(root)!.ToJsonString(s_style) + "\n";
        }
    }

    internal GgufVocabulary? Vocabulary { get; }

    /// <summary>The keys of the tokenizer and of the chat templates, as they are.</summary>
    internal IEnumerable<(string Key, object Value)> TokenizerKeys =>
        _files
            .Main.Keys.Where(k => k.Key.StartsWith("tokenizer.", StringComparison.Ordinal))
            .OrderBy(k => k.Key, StringComparer.Ordinal)
            .Select(k => (k.Key, k.Value));

    /// <summary>Opens a file, or all parts of a split model of which it is one.</summary>
    /// <param name="path">The file.</param>
    /// <exception cref="CheckpointException">
    /// The file is missing, damaged, no model, or of an architecture, a type of tensors or a kind of tokenizer that is not supported.
    /// </exception>
    public static GgufModel Open(string path)
    {
        var files = GgufFileSet.Open(path);
        try
        {
            return new GgufModel(files, path);
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>The tokenizer and the chat templates in words.</summary>
    internal string DescribeTokenizer()
    {
        if (Vocabulary is null)
            return "none";
        var rule = new GgufMetadata(_files.Main).TextOrNull("tokenizer.ggml.pre");
        var templates =
            ChatTemplates.Count == 0
                ? "no chat template"
                : $"chat template{(ChatTemplates.Count > 1 ? "s " + string.Join(", ", ChatTemplates.Keys) : "")}";
        var kind = Vocabulary.Rule is null ? Vocabulary.Model : $"{Vocabulary.Model} with the rule {rule}";
        return $"{Vocabulary.Tokens.Count:N0} tokens, {kind}, {templates}";
    }

    /// <summary>Whether a text names a GGUF file: by its ending, or because a file with that name begins like one.</summary>
    public static bool IsNamed(string path) =>
        !Directory.Exists(path) && (path.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase) || IsGguf(path));

    /// <summary>Whether a path is that of a GGUF file: its first four bytes tell.</summary>
    public static bool IsGguf(string path)
    {
        if (!File.Exists(path))
            return false;
        try
        {
            using var stream = File.OpenRead(path);
            Span<byte> start = stackalloc byte[4];
            return stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && start.SequenceEqual("GGUF"u8);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>
    /// Writes the tokenizer and the chat templates as Hugging Face's files into a folder; nothing where the file has none.
    /// </summary>
    /// <param name="folder">The folder.</param>
    public void WriteTokenizer(string folder)
    {
        if (Vocabulary is not null)
            GgufTokenizerFiles.Write(folder, Vocabulary, Config.MaxPositions);
    }

    /// <inheritdoc/>
    public void CopyCompanions(string folder)
    {
        AtomicFile.WriteText(System.IO.Path.Combine(folder, "generation_config.json"), GenerationConfigText);
        WriteTokenizer(folder);
    }

    /// <summary>Closes the files; no tensor that came from them may be used afterwards.</summary>
    public void Dispose() => _tensors.Dispose();
}
