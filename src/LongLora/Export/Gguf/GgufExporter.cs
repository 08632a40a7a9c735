using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Loading;
using LongLora.Models;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Export;

/// <summary>
/// Writes a model with its adapters merged, or only an adapter, as a GGUF file for llama.cpp and engines based on it. The file is read back
/// and checked.
/// </summary>
public static class GgufExporter
{
    private const uint QuantizationVersion = 2;

    /// <summary>Writes a model with its tokenizer and chat template as one GGUF file.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="model">The model. An attached adapter is merged.</param>
    /// <param name="type">Type of most matrices. Norms and biases are fp32.</param>
    /// <exception cref="ConfigurationException">GGUF has no such architecture or RoPE scaling.</exception>
    /// <exception cref="CheckpointException">Engines do not support the tokenizer.</exception>
    public static void Write(string path, LoadedModel model, GgufFileType type) => Write(path, model.Network, model.Files, type);

    /// <summary>Writes a model with its tokenizer and chat template.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="model">The model, with or without adapters.</param>
    /// <param name="origin">The base's folder.</param>
    /// <param name="type">
    /// Type of most matrices. Norms and biases are fp32; matrices whose rows do not fill the type's blocks get the next type with blocks of
    /// 32, or fp16.
    /// </param>
    /// <param name="tokenizerFolder">A folder with a tokenizer to use instead of the base's; null for the base's.</param>
    /// <param name="withTokenizer">
    /// False to leave out the tokenizer and mark the file with <c>no_vocab</c>; engines then accept and return token ids.
    /// </param>
    /// <exception cref="ConfigurationException">GGUF has no such architecture or RoPE scaling.</exception>
    /// <exception cref="CheckpointException">Engines do not support the tokenizer.</exception>
    internal static GgufReader Write(
        string path,
        CausalLanguageModel model,
        IModelFiles origin,
        GgufFileType type,
        string? tokenizerFolder = null,
        bool withTokenizer = true
    )
    {
        var architecture = GgufArchitecture.Of(model.Config);
        var weights = HuggingFaceExporter.InFileOrder(HuggingFaceExporter.Tensors(model, origin), origin);
        List<(string, object)> keys =
        [
            ("general.architecture", architecture.Name),
            ("general.type", "model"),
            (
                "general.name",
                (origin as GgufModel)?.Name ?? Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(origin.Path)))
            ),
            ("general.file_type", (uint)type),
            ("general.quantization_version", QuantizationVersion),
            .. architecture.Keys(),
            .. architecture.Numbers(weights),
            .. !withTokenizer ? GgufTokenizer.None
            : tokenizerFolder is null && origin is GgufModel file ? file.TokenizerKeys
            : GgufTokenizer.Keys(tokenizerFolder ?? origin.Path, model.Config.VocabularySize),
        ];
        var mix = new GgufMix(type, model.Config.LayerCount, model.Config.TiedEmbeddings);
        List<GgufTensor> tensors =
        [
            .. architecture
                .Frequencies()
                .Select(f => new GgufTensor(new(f.Name, GgufType.F32, [f.Divisors.Length]), () => tensor(f.Divisors, ScalarType.Float32))),
            .. architecture.Tensors(weights).Select(t => t with { Info = t.Info with { Type = mix.TypeOf(t.Info.Name, t.Info.Shape) } }),
        ];
        architecture.RequireSame(path, keys, tensors);
        GgufWriter.Write(path, keys, tensors);
        return Checked(path);
    }

    /// <summary>Writes only LoRA matrices, for engines that apply them to another model file.</summary>
    /// <param name="path">The file to create or replace.</param>
    /// <param name="set">The adapters.</param>
    /// <param name="model">The model that they are attached to.</param>
    /// <param name="type">F32, F16 or Bf16.</param>
    /// <param name="isFolded">Whether the model of the engine has the trained embeddings and norms already.</param>
    /// <exception cref="ConfigurationException">The adapter has trained embeddings or norms, which engines ignore in adapters.</exception>
    internal static GgufReader WriteAdapter(
        string path,
        AdapterSet set,
        CausalLanguageModel model,
        GgufFileType type,
        bool isFolded = false
    )
    {
        if (set.ModelWeights.Count > 0 && !isFolded)
        {
            throw new ConfigurationException(
                $"Cannot write a GGUF adapter because this adapter has {set.ModelWeights.Count} trained embeddings and norms "
                    + "besides LoRA. Engines would silently ignore them and give wrong results. Export the merged model instead."
            );
        }
        set.RequirePlainLora("a GGUF adapter", isFolded);
        var matrixType = type switch
        {
            GgufFileType.F32 => GgufType.F32,
            GgufFileType.F16 => GgufType.F16,
            GgufFileType.Bf16 => GgufType.Bf16,
            _ => throw new ConfigurationException(
                "Cannot quantize LoRA matrices because their errors multiply. Export them as f32, f16 or bf16."
            ),
        };
        var architecture = GgufArchitecture.Of(model.Config);
        List<(string, object)> keys =
        [
            ("general.architecture", architecture.Name),
            ("general.type", "adapter"),
            ("general.file_type", (uint)type),
            ("adapter.type", "lora"),
            ("adapter.lora.alpha", (float)set.Options.Alpha),
        ];
        var tensors = new List<GgufTensor>();
        foreach (var (name, adapter) in set.Adapters)
        {
            var weight = name + ".weight";
            var engines = architecture.TensorName(weight);
            tensors.Add(Of(engines + ".lora_a", matrixType, [adapter.PlainRank, adapter.A.Shape[1]], adapter.MakePlainA));
            tensors.Add(
                Of(engines + ".lora_b", matrixType, [adapter.B.Shape[0], adapter.PlainRank], () =>
                    Arranged(architecture, weight, ScaledB(adapter, set.Options.Alpha))
                )
            );
        }
        GgufWriter.Write(path, keys, tensors);
        return Checked(path);
    }

    // Engines scale by alpha / r with one alpha for all layers, so other scales are multiplied into B.
    private static Tensor ScaledB(LoraAdapter adapter, double alpha)
    {
        var rest = adapter.Scale * adapter.PlainRank / alpha;
        if (rest == 1)
            return adapter.MakePlainB();
        using var b = adapter.MakePlainB();
        return b.detach().mul(Scalars.Of(rest));
    }

    /// <summary>Checks what engines assume beyond the rules of the format.</summary>
    /// <exception cref="CheckpointException">Something is wrong; the message names it.</exception>
    internal static void Check(GgufReader file)
    {
        var problems = new List<string>();
        foreach (var (name, info) in file.Tensors)
        {
            if (info.Shape.Count == 1 && info.Type != GgufType.F32)
                problems.Add($"'{name}' is {GgufFormat.Name(info.Type)}, but norms and biases must be F32");
        }
        if (file.Get<string>("general.type") == "model")
        {
            var architecture = file.Get<string>("general.architecture");
            foreach (var key in (string[])["context_length", "embedding_length", "block_count", "attention.head_count"])
                file.Get<uint>($"{architecture}.{key}");
            var hasTokens =
                file.Keys.ContainsKey("tokenizer.ggml.model") && file.Get<string>("tokenizer.ggml.model") != GgufTokenizer.NoModel;
            var rows = file.Tensors.TryGetValue("token_embd.weight", out var table) ? table.Shape[0] : 0;
            foreach (var name in hasTokens ? (string[])["tokens", "scores", "token_type"] : [])
            {
                var count = (file.Keys.GetValueOrDefault("tokenizer.ggml." + name) as Array)?.Length;
                // Byte-level tokenizers need no scores. Without types every token is a normal one.
                if (count != rows && (count is not null || name == "tokens"))
                    problems.Add($"tokenizer.ggml.{name} has {count ?? 0} items, but token_embd has {rows} rows");
            }
            for (var i = 0u; i < file.Get<uint>(architecture + ".block_count"); i++)
            {
                bool Has(params string[] names) => names.Any(name => file.Tensors.ContainsKey($"blk.{i}.{name}.weight"));
                if (!Has("attn_output", "ssm_out") || !Has("ffn_down", "ffn_down_exps"))
                    problems.Add($"block {i} is incomplete");
            }
        }
        if (problems.Count > 0)
            throw new CheckpointException($"Engines would misread {file.Path}: {string.Join("; ", problems)}.");
    }

    private static GgufReader Checked(string path)
    {
        var reader = GgufReader.Read(path);
        Check(reader);
        return reader;
    }

    private static GgufTensor Of(string name, GgufType type, IReadOnlyList<long> shape, Func<Tensor> value) =>
        new(new GgufTensorInfo(name, type, shape), value);

    private static Tensor Arranged(GgufArchitecture architecture, string name, Tensor value)
    {
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        using (value)
            return architecture.Arranged(name, value.to(ScalarType.Float32, copy: true)).MoveToOuterDisposeScope();
    }
}
