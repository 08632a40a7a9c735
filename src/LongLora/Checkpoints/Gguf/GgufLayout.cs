using System.Text.RegularExpressions;
using LongLora.Configs;

namespace LongLora.Checkpoints;

// H heads, K head size

/// <summary>
/// How a model family is laid out in GGUF: its architecture, the names of its tensors, and the order of their rows, both ways. Names as
/// gguf-py's constants list them.
/// </summary>
/// <remarks>
/// Two orders differ from Hugging Face's. The llama architecture rotates neighboring numbers of a head, while Hugging Face rotates the
/// first half with the second, so rows of q and k are permuted. And gptneox has all q, then all k, then all v, while Hugging Face has them
/// head by head.
/// </remarks>
internal sealed partial class GgufLayout
{
    private static readonly Dictionary<string, string> s_gated = new(StringComparer.Ordinal)
    {
        ["input_layernorm"] = "attn_norm",
        ["post_attention_layernorm"] = "ffn_norm",
        ["self_attn.q_proj"] = "attn_q",
        ["self_attn.k_proj"] = "attn_k",
        ["self_attn.v_proj"] = "attn_v",
        ["self_attn.o_proj"] = "attn_output",
        ["self_attn.q_norm"] = "attn_q_norm",
        ["self_attn.k_norm"] = "attn_k_norm",
        ["mlp.gate_proj"] = "ffn_gate",
        ["mlp.up_proj"] = "ffn_up",
        ["mlp.down_proj"] = "ffn_down",
    };

    private static readonly Dictionary<string, string> s_fused = new(StringComparer.Ordinal)
    {
        ["input_layernorm"] = "attn_norm",
        ["post_attention_layernorm"] = "ffn_norm",
        ["self_attn.qkv_proj"] = "attn_qkv",
        ["self_attn.o_proj"] = "attn_output",
        ["mlp.gate_up_proj"] = "ffn_up",
        ["mlp.down_proj"] = "ffn_down",
    };

    private static readonly Dictionary<string, string> s_neox = new(StringComparer.Ordinal)
    {
        ["input_layernorm"] = "attn_norm",
        ["post_attention_layernorm"] = "ffn_norm",
        ["attention.query_key_value"] = "attn_qkv",
        ["attention.dense"] = "attn_output",
        ["mlp.dense_h_to_4h"] = "ffn_up",
        ["mlp.dense_4h_to_h"] = "ffn_down",
    };

    private static readonly Dictionary<string, string> s_outer = new(StringComparer.Ordinal)
    {
        ["model.embed_tokens"] = "token_embd",
        ["model.norm"] = "output_norm",
        ["lm_head"] = "output",
    };

    private static readonly Dictionary<string, string> s_neoxOuter = new(StringComparer.Ordinal)
    {
        ["gpt_neox.embed_in"] = "token_embd",
        ["gpt_neox.final_layer_norm"] = "output_norm",
        ["embed_out"] = "output",
    };

    // If several families share an architecture, files are read as the first one.
    private static readonly GgufLayout[] s_all =
    [
        new("llama", LlamaConfig.ModelType, s_gated),
        new("llama", MistralConfig.ModelType, s_gated),
        new("qwen2", QwenConfig.Qwen2, s_gated),
        new("qwen3", QwenConfig.Qwen3, s_gated),
        new("phi3", Phi3Config.ModelType, s_fused),
        new("gptneox", GptNeoXConfig.ModelType, s_neox),
    ];

    private readonly Dictionary<string, string> _toFile,
        _fromFile,
        _outer,
        _outerFromFile;

    private GgufLayout(string architecture, string modelType, Dictionary<string, string> names)
    {
        (Architecture, ModelType, _toFile) = (architecture, modelType, names);
        _outer = modelType == GptNeoXConfig.ModelType ? s_neoxOuter : s_outer;
        _fromFile = names.ToDictionary(n => n.Value, n => n.Key, StringComparer.Ordinal);
        _outerFromFile = _outer.ToDictionary(n => n.Value, n => n.Key, StringComparer.Ordinal);
    }

    /// <summary>The architectures that can be read.</summary>
    public static IReadOnlyList<string> Architectures { get; } = [.. s_all.Select(l => l.Architecture).Distinct()];

    /// <summary>The families that can be written.</summary>
    public static IReadOnlyList<string> Families { get; } = [.. s_all.Select(l => l.ModelType)];

    /// <summary><c>general.architecture</c>.</summary>
    public string Architecture { get; }

    /// <summary>The family, as <c>model_type</c> names it.</summary>
    public string ModelType { get; }

    private string LayerPrefix => ModelType == GptNeoXConfig.ModelType ? "gpt_neox.layers." : "model.layers.";

    /// <summary>The layout of an architecture, or null if it is unknown.</summary>
    public static GgufLayout? OfArchitecture(string architecture) => Array.Find(s_all, l => l.Architecture == architecture);

    /// <summary>The layout of a family, or null if it is unknown.</summary>
    public static GgufLayout? OfFamily(string modelType) => Array.Find(s_all, l => l.ModelType == modelType);

    /// <summary>The name of a tensor, such as <c>blk.0.attn_q.weight</c> for <c>model.layers.0.self_attn.q_proj.weight</c>.</summary>
    public string ToFile(string name)
    {
        var dot = name.LastIndexOf('.');
        var (module, kind) = (name[..dot], name[dot..]);
        if (_outer.TryGetValue(module, out var outer))
            return outer + kind;
        var match = ModelLayer().Match(module);
        return match.Success && _toFile.TryGetValue(match.Groups[2].Value, out var inner)
            ? $"blk.{match.Groups[1].Value}.{inner}{kind}"
            : throw new InvalidOperationException($"GGUF has no name for '{name}'.");
    }

    /// <summary>The Hugging Face name of a tensor in a file, or null if the family does not have it.</summary>
    public string? FromFile(string name)
    {
        var dot = name.LastIndexOf('.');
        if (dot < 0)
            return null;
        var (module, kind) = (name[..dot], name[dot..]);
        if (kind is not (".weight" or ".bias"))
            return null;
        if (_outerFromFile.TryGetValue(module, out var outer))
            return outer + kind;
        var match = FileLayer().Match(module);
        return match.Success && _fromFile.TryGetValue(match.Groups[2].Value, out var inner)
            ? LayerPrefix + match.Groups[1].Value + "." + inner + kind
            : null;
    }

    /// <summary>For each row of a tensor, in Hugging Face's order, its row in the file; null if the orders are the same.</summary>
    /// <param name="name">Its Hugging Face name.</param>
    /// <param name="config">Has the sizes of the heads.</param>
    public int[]? RowsInFile(string name, ModelConfig config)
    {
        var module = name[..name.LastIndexOf('.')];
        if (Architecture == "llama" && module.EndsWith(".q_proj", StringComparison.Ordinal))
            return Neighbors(config.HeadCount, config.HeadSize);
        if (Architecture == "llama" && module.EndsWith(".k_proj", StringComparison.Ordinal))
            return Neighbors(config.KeyValueHeadCount, config.HeadSize);
        return Architecture == "gptneox" && module.EndsWith(".query_key_value", StringComparison.Ordinal)
            ? PartByPart(config.HeadCount, config.HeadSize)
            : null;
    }

    // Number i of half j of a head is at 2 i + j.
    private static int[] Neighbors(int heads, int size)
    {
        var rows = new int[heads * size];
        for (var row = 0; row < rows.Length; row++)
        {
            var within = row % size;
            rows[row] = row - within + within % (size / 2) * 2 + within / (size / 2);
        }
        return rows;
    }

    // Number i of part p of head h, at h 3 K + p K + i, moves to p H K + h K + i.
    private static int[] PartByPart(int heads, int size)
    {
        var rows = new int[heads * 3 * size];
        for (var row = 0; row < rows.Length; row++)
        {
            var (head, part, within) = (row / (3 * size), row / size % 3, row % size);
            rows[row] = (part * heads + head) * size + within;
        }
        return rows;
    }

    [GeneratedRegex(@"^(?:model|gpt_neox)\.layers\.(\d+)\.(.+)$")]
    private static partial Regex ModelLayer();

    [GeneratedRegex(@"^blk\.(\d+)\.(.+)$")]
    private static partial Regex FileLayer();
}
