using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads the architecture from the metadata and tensors of a GGUF file. Unknown keys of the architecture are refused. What the metadata
/// does not say follows from the tensors: without <c>output.weight</c> the head is tied, and biases exist or not.
/// </summary>
internal sealed class GgufConfig
{
    private readonly GgufFileSet _files;
    private readonly GgufMetadata _keys;
    private readonly string _architecture;

    private GgufConfig(GgufFileSet files, string architecture) =>
        (_files, _keys, _architecture) = (files, new GgufMetadata(files.Main), architecture);

    /// <summary>Reads a file.</summary>
    /// <exception cref="CheckpointException">
    /// The file is not a model, its architecture is not supported, or a key is missing, unknown or invalid.
    /// </exception>
    public static (ModelConfig Config, GgufLayout Layout) Read(GgufFileSet files)
    {
        var keys = new GgufMetadata(files.Main);
        var kind = keys.TextOrNull("general.type") ?? "model";
        if (kind != "model")
            throw new CheckpointException(
                $"{keys.Path} is not a model because general.type is '{kind}'. "
                    + (kind == "adapter" ? "Give the GGUF file of its base model." : "Give the GGUF file of a language model.")
            );
        var architecture = keys.TextOrNull("general.architecture") ?? throw keys.Missing("general.architecture");
        var layout = GgufLayout.OfArchitecture(architecture)
            ?? throw new CheckpointException(
                $"{keys.Path} has a model of architecture '{architecture}', which is not supported. The supported architectures "
                    + $"are {string.Join(", ", GgufLayout.Architectures)}.{NearestName.Hint(architecture, GgufLayout.Architectures)}"
            );
        // Version 1 had a different block format.
        if (keys.IntegerOrNull("general.quantization_version") is { } version and not 2)
            throw keys.Bad("general.quantization_version", version, "only 2 is supported. Convert the model again");
        return (new GgufConfig(files, architecture).ReadModel(layout), layout);
    }

    private ModelConfig ReadModel(GgufLayout layout)
    {
        int width = Integer("embedding_length"),
            layers = Integer("block_count"),
            heads = Uniform("attention.head_count") ?? throw _keys.Missing(Key("attention.head_count")),
            keyHeads = Uniform("attention.head_count_kv") ?? heads;
        Require(heads % keyHeads == 0, "attention.head_count_kv", keyHeads, $"it must divide the number of heads, {heads}");
        var headSize = Uniform("attention.key_length");
        Require(
            headSize is not null || width % heads == 0,
            "embedding_length",
            width,
            $"without attention.key_length it must be a multiple of the number of heads, {heads}"
        );
        var size = headSize ?? width / heads;
        Require(size % 2 == 0, "attention.key_length", size, "it must be even because RoPE rotates pairs of numbers");
        Fixed("attention.value_length", size, "keys and values must have the same size");
        Fixed("expert_count", 0, "models with experts are not supported in GGUF");
        Fixed("expert_used_count", 0, "models with experts are not supported in GGUF");
        Fixed("attention.scale", 1 / Math.Sqrt(size), "scores must be divided by the square root of the head size");
        Fixed("attention.clamp_kqv", 0, "clamping is not supported");
        Fixed("attention.max_alibi_bias", 0, "positions must be rotary");
        if (_keys.FlagOrNull(Key("attention.causal")) == false)
            throw _keys.Bad(Key("attention.causal"), false, "the model must be a decoder");
        if (_keys.TextOrNull(Key("tensor_data_layout")) is { } arrangement and not ("Meta AI original pth" or "reference"))
            throw _keys.Bad(Key("tensor_data_layout"), arrangement, "this layout is unknown");
        _keys.Note(Key("vocab_size"));
        _keys.Note(Key("rope.scaling.finetuned"));

        var isNeoX = layout.ModelType == GptNeoXConfig.ModelType;
        var table = Tensor("token_embd.weight");
        Require(
            table.Shape.Count == 2 && table.Shape[1] == width,
            "embedding_length",
            width,
            "the rows of token_embd.weight have another length"
        );
        var window = ReadWindow(layout);
        var config = new ModelConfig
        {
            ModelType = window is not null && layout.ModelType == LlamaConfig.ModelType ? MistralConfig.ModelType : layout.ModelType,
            HiddenSize = width,
            IntermediateSize = Uniform("feed_forward_length") ?? throw _keys.Missing(Key("feed_forward_length")),
            LayerCount = layers,
            HeadCount = heads,
            KeyValueHeadCount = keyHeads,
            HeadSize = size,
            VocabularySize = checked((int)table.Shape[0]),
            MaxPositions = Integer("context_length"),
            NormEpsilon = Number(isNeoX ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"),
            TiedEmbeddings = !_files.Tensors.ContainsKey("output.weight"),
            AttentionBias = isNeoX || _files.Tensors.ContainsKey("blk.0.attn_q.bias"),
            MlpBias = isNeoX || _files.Tensors.ContainsKey("blk.0.ffn_gate.bias"),
            ParallelResidual = isNeoX && (_keys.FlagOrNull(Key("use_parallel_residual")) ?? true),
            Activation = isNeoX ? "gelu" : "silu",
            SlidingWindow = window,
            BosTokenId = TokenId("bos_token_id"),
            EosTokenIds = [.. new[] { TokenId("eos_token_id"), TokenId("eot_token_id"), TokenId("eom_token_id") }.OfType<int>().Distinct()],
        };
        config = new GgufRope(_files, _keys, _architecture).Read(config, partial: isNeoX || layout.ModelType == Phi3Config.ModelType);
        _keys.RefuseOthers(_architecture + ".");
        return config;
    }

    // 0 means none.
    private int? ReadWindow(GgufLayout layout)
    {
        var window = Uniform("attention.sliding_window", 0);
        if (window is null or 0)
            return null;
        return layout.ModelType is LlamaConfig.ModelType or Phi3Config.ModelType
            ? window
            : throw _keys.Bad(Key("attention.sliding_window"), window, $"a window is not supported in {_architecture} files");
    }

    private int? TokenId(string name)
    {
        var key = "tokenizer.ggml." + name;
        return (int?)_keys.IntegerOrNull(key) is { } id && id < Tensor("token_embd.weight").Shape[0] ? id : null;
    }

    private GgufTensorInfo Tensor(string name) =>
        _files.Tensors.TryGetValue(name, out var found)
            ? found.Info
            : throw new CheckpointException($"{_keys.Path} has no tensor '{name}', which every {_architecture} model has.");

    private string Key(string name) => $"{_architecture}.{name}";

    private int Integer(string name) => _keys.Integer(Key(name));

    private int? Uniform(string name, int minimum = 1) => _keys.UniformOrNull(Key(name), minimum);

    private double Number(string name) => _keys.NumberOrNull(Key(name)) ?? throw _keys.Missing(Key(name));

    private void Fixed(string name, double needed, string why)
    {
        // Written in fp32.
        if (_keys.NumberOrNull(Key(name), 0) is { } seen && Math.Abs(seen - needed) > 1e-6 * Math.Max(1, needed))
            throw _keys.Bad(Key(name), seen, why);
    }

    private void Require(bool holds, string name, object value, string why)
    {
        if (!holds)
            throw _keys.Bad(Key(name), value, why);
    }
}
