using LongLora.Configs;
using LongLora.Runtime;

namespace LongLora.Checkpoints;

/// <summary>
/// Reads the architecture from the metadata and tensors of a GGUF file. Unknown keys of the architecture are refused. What the metadata
/// does not say follows from the tensors: without <c>output.weight</c> the head is tied, and biases exist or not.
/// </summary>
internal sealed class GgufConfig
{
    private readonly GgufContents _file;
    private readonly GgufMetadata _keys;
    private readonly GgufLayout _layout;

    private GgufConfig(GgufContents file, GgufMetadata keys, GgufLayout layout) => (_file, _keys, _layout) = (file, keys, layout);

    /// <summary>Reads what a file says of itself.</summary>
    /// <exception cref="CheckpointException">
    /// The file is not a model, its architecture is not supported, or a key is missing, unknown or invalid.
    /// </exception>
    public static (ModelConfig Config, GgufLayout Layout) Read(GgufContents file)
    {
        var keys = new GgufMetadata(file.Path, file.Keys);
        var kind = keys.TextOrNull("general.type") ?? "model";
        if (kind != "model")
            throw new CheckpointException(
                $"{keys.Path} is not a model because general.type is '{kind}'. "
                    + (kind == "adapter" ? "Give the GGUF file of its base model." : "Give the GGUF file of a language model.")
            );
        var architecture = keys.TextOrNull("general.architecture") ?? throw keys.Missing("general.architecture");
        // Version 1 had a different block format.
        if (keys.IntegerOrNull("general.quantization_version") is { } version and not 2)
            throw keys.Bad("general.quantization_version", version, "only 2 is supported. Convert the model again");
        keys = new GgufMetadata(file.Path, file.Keys) { Prefix = architecture + ".", HasTensor = file.Tensors.ContainsKey };
        var layout = GgufLayout.OfFile(architecture, keys)
            ?? throw new CheckpointException(
                $"{keys.Path} has a model of architecture '{architecture}', which is not supported. The supported architectures "
                    + $"are {string.Join(", ", GgufLayout.Architectures)}.{NearestName.Hint(architecture, GgufLayout.Architectures)}"
            );
        return (new GgufConfig(file, keys, layout).ReadModel(), layout);
    }

    private ModelConfig ReadModel()
    {
        int width = Integer("embedding_length"),
            layers = Integer("block_count") - FurtherBlocks,
            heads = Uniform("attention.head_count") ?? throw _keys.Missing(Key("attention.head_count")),
            keyHeads = OfFirst("attention.head_count_kv") ?? heads;
        Require(heads % keyHeads == 0, "attention.head_count_kv", keyHeads, $"it must divide the number of heads, {heads}");
        Require(layers > 0, "nextn_predict_layers", FurtherBlocks, "no block is left for the model");
        Require(layers <= _file.Tensors.Count, "block_count", layers, $"the file has only {_file.Tensors.Count} tensors");
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
        if (!_layout.HasExperts)
        {
            Fixed("expert_count", 0, $"experts are not supported in {_layout.Architecture} files");
            Fixed("expert_used_count", 0, $"experts are not supported in {_layout.Architecture} files");
        }
        Fixed("attention.clamp_kqv", 0, "clamping is not supported");
        Fixed("attention.max_alibi_bias", 0, "positions must be rotary");
        if (_keys.FlagOrNull(Key("attention.causal")) == false)
            throw _keys.Bad(Key("attention.causal"), false, "the model must be a decoder");
        if (_keys.TextOrNull(Key("tensor_data_layout")) is { } arrangement and not ("Meta AI original pth" or "reference"))
            throw _keys.Bad(Key("tensor_data_layout"), arrangement, "this layout is unknown");
        _keys.Note(Key("vocab_size"));
        _keys.Note(Key("rope.scaling.finetuned"));

        var table = Tensor("token_embd.weight");
        Require(
            table.Shape.Count == 2 && table.Shape[1] == width,
            "embedding_length",
            width,
            "the rows of token_embd.weight have another length"
        );
        bool Has(string part) => _file.Tensors.Keys.Any(name => name.EndsWith(part, StringComparison.Ordinal));
        var config = new ModelConfig
        {
            ModelType = _layout.ModelType,
            HiddenSize = width,
            IntermediateSize = OfFirst("feed_forward_length") ?? throw _keys.Missing(Key("feed_forward_length")),
            LayerCount = layers,
            HeadCount = heads,
            KeyValueHeadCount = keyHeads,
            HeadSize = size,
            VocabularySize = checked((int)table.Shape[0]),
            MaxPositions = Integer("context_length"),
            NormEpsilon = Number(_layout.HasLayerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon"),
            TiedEmbeddings = !_file.Tensors.ContainsKey("output.weight"),
            AttentionBias = Has(".attn_q.bias"),
            MlpBias = Has(".ffn_up.bias"),
            Activation = "silu",
            BosTokenId = TokenId("bos_token_id"),
            EosTokenIds = [.. new[] { TokenId("eos_token_id"), TokenId("eot_token_id"), TokenId("eom_token_id") }.OfType<int>().Distinct()],
        };
        config = new GgufRope(_file, _keys, _layout).Read(config);
        foreach (var trait in _layout.Traits)
            config = trait.Read(_keys, config);
        // A window where the family has none, and scores that are scaled otherwise, would change the numbers.
        if (!_keys.IsKnown(Key("attention.sliding_window")))
            Fixed("attention.sliding_window", 0, $"a window is not supported in {_layout.Architecture} files");
        if (!_keys.IsKnown(Key("attention.scale")))
            Fixed("attention.scale", config.AttentionScale ?? 1 / Math.Sqrt(size), "scores must be scaled by the family's rule");
        _keys.RefuseOthers(_keys.Prefix);
        return config;
    }

    private int? TokenId(string name)
    {
        var key = "tokenizer.ggml." + name;
        return (int?)_keys.IntegerOrNull(key) is { } id && id < Tensor("token_embd.weight").Shape[0] ? id : null;
    }

    private GgufTensorInfo Tensor(string name) =>
        _file.Tensors.TryGetValue(name, out var found)
            ? found
            : throw new CheckpointException($"{_keys.Path} has no tensor '{name}', which every {_layout.Architecture} model has.");

    private string Key(string name) => _keys.Prefix + name;

    private int Integer(string name) => _keys.Integer(Key(name));

    private int? Uniform(string name, int minimum = 1) => _keys.UniformOrNull(Key(name), minimum);

    // They predict further tokens and are no part of the model.
    private int FurtherBlocks => _layout.HasFurtherBlocks ? (int)(_keys.IntegerOrNull(Key("nextn_predict_layers")) ?? 0) : 0;

    private int? OfFirst(string name) =>
        _layout.HasUnlikeLayers ? _keys.LayersOrNull(Key(name), Integer("block_count"), 1)?[0] : Uniform(name);

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
