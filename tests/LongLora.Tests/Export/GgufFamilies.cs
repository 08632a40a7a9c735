using System.Text.Json.Nodes;
using LongLora.Checkpoints;
using LongLora.Configs;
using LongLora.Models;
using static TorchSharp.torch;

namespace LongLora.Tests.Export;

/// <summary>
/// A small random model of each family that GGUF has: the configs of Goldens/families, changed where llama.cpp takes something for granted
/// (the pattern of windows, scales that follow from sizes, bounds).
/// </summary>
internal static class GgufFamilies
{
    // Name of the case: family, changes of the config, architecture in the file.
    private static readonly Dictionary<string, (string Family, string Changes, string Architecture)> s_all = new()
    {
        ["mixtral"] = ("mixtral", "", "llama"),
        ["qwen3_moe"] = ("qwen3_moe", "", "qwen3moe"),
        ["gemma3"] = ("gemma3_text", Layers("sssssfs") + """, "query_pre_attn_scalar": 16""", "gemma3"),
        ["gemma2"] = ("gemma2", """ "query_pre_attn_scalar": 16""", "gemma2"),
        ["smollm3"] = ("smollm3", "", "smollm3"),
        ["granite"] = ("granite", "", "granite"),
        ["olmo2"] = ("olmo2", "", "olmo2"),
        ["olmo3"] = (
            "olmo3",
            Layers("sssfs")
                + """
                , "rope_parameters": { "full_attention": { "rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0,
                "original_max_position_embeddings": 32, "attention_factor": 1.2079441541679836 },
                "sliding_attention": { "rope_type": "default", "rope_theta": 5000.0 } }
                """,
            "olmo2"
        ),
        ["glm4"] = ("glm4", "", "glm4"),
        ["glm"] = ("glm", """ "head_dim": 12""", "chatglm"),
        ["gpt_oss"] = (
            "gpt_oss",
            """ "swiglu_limit": 7, "rope_parameters": { "rope_type": "default", "rope_theta": 1500.0 } """,
            "gpt-oss"
        ),
        ["gpt_oss_yarn"] = (
            "gpt_oss",
            """
             "swiglu_limit": 7, "max_position_embeddings": 131072, "rope_parameters": { "rope_type": "yarn", "rope_theta": 150000.0, "factor": 32.0, "beta_fast": 32.0,
             "beta_slow": 1.0, "truncate": false, "original_max_position_embeddings": 4096 }
            """,
            "gpt-oss"
        ),
        ["seed_oss"] = ("seed_oss", "", "seed_oss"),
        ["exaone4"] = ("exaone4", Layers("fffff") + """, "sliding_window": null""", "exaone4"),
        ["exaone4_windows"] = (
            "exaone4",
            Layers(string.Concat(Enumerable.Repeat("sssf", 16))) + """, "hidden_size": 32, "intermediate_size": 32""",
            "exaone4"
        ),
        ["ministral3"] = ("ministral3", "", "mistral3"),
        ["cohere2"] = ("cohere2", Layers("sssfs"), "cohere2"),
        ["ernie4_5"] = ("ernie4_5", "", "ernie4_5"),
        ["hunyuan"] = ("hunyuan_v1_dense", "", "hunyuan-dense"),
        ["arcee"] = (
            "arcee",
            """
             "rope_parameters": { "rope_type": "yarn", "rope_theta": 1000.0, "factor": 8.0, "original_max_position_embeddings": 16,
             "mscale": 1.0 }
            """,
            "arcee"
        ),
        ["apertus"] = ("apertus", "", "apertus"),
        ["qwen3_5"] = ("qwen3_5", Layers("lllfl") + """, "linear_key_head_dim": 16""", "qwen35"),
        ["gemma4"] = (
            "gemma4",
            Layers("sssfsf") + """, "per_layer_config": { "3": { "head_dim": 24 }, "5": { "head_dim": 24 } }""",
            "gemma4"
        ),
        ["gemma4_moe"] = ("gemma4_moe", "", "gemma4"),
    };

    // Further models of the same families: rows that fill blocks, and what GGUF cannot say.
    private static readonly Dictionary<string, (string Family, string Changes)> s_others = new()
    {
        ["mixtral_wide"] = ("mixtral", Wide),
        ["qwen3_moe_wide"] = ("qwen3_moe", Wide + """, "moe_intermediate_size": 32"""),
        ["gemma3_wide"] = ("gemma3_text", Layers("sssssfs") + """, "query_pre_attn_scalar": 16, """ + Wide),
        ["gpt_oss_wide"] = (
            "gpt_oss",
            """
             "swiglu_limit": 7, "hidden_size": 64, "intermediate_size": 32, "rope_parameters": { "rope_type": "default", "rope_theta": 1500.0 }
            """
        ),
        ["gemma3_scale"] = ("gemma3_text", Layers("sssssfs")),
        ["gemma3_period"] = ("gemma3_text", """ "query_pre_attn_scalar": 16"""),
        ["smollm3_all"] = ("smollm3", """ "no_rope_layers": [1, 1, 1, 1, 1]"""),
        ["gpt_oss_bound"] = ("gpt_oss", """ "rope_parameters": { "rope_type": "default", "rope_theta": 1500.0 }"""),
        ["qwen3_moe_sum"] = ("qwen3_moe", """ "norm_topk_prob": false"""),
        ["qwen3_moe_dense"] = ("qwen3_moe", """ "mlp_only_layers": [1]"""),
        ["exaone4_short"] = ("exaone4", ""),
        ["arcee_range"] = ("arcee", ""),
    };

    private const string Wide = """ "hidden_size": 64, "intermediate_size": 64, "head_dim": 16""";

    private static readonly string[] s_gates = ["gate_proj", "gate_up_proj", "per_layer_input_gate"];

    /// <summary>Every case.</summary>
    public static TheoryData<string> Names => [.. s_all.Keys];

    /// <summary>Whether its MLP has GELU, which llama.cpp looks up in a table of fp16 numbers.</summary>
    public static bool HasGelu(string name) => name.StartsWith("gemma", StringComparison.Ordinal);

    /// <summary>The architecture that its file names.</summary>
    public static string ArchitectureOf(string name) => s_all[name].Architecture;

    private static string Layers(string kinds) =>
        $$""" "num_hidden_layers": {{kinds.Length}}, "layer_types": [{{string.Join(", ", kinds.Select(k => k switch
        {
            's' => "\"sliding_attention\"",
            'l' => "\"linear_attention\"",
            _ => "\"full_attention\"",
        }))}}] """;

    /// <summary>Writes the model of a case into a folder.</summary>
    /// <param name="folder">The folder to make.</param>
    /// <param name="name">The case.</param>
    /// <param name="isGateClosed">Whether gates are 0, so that what an activation makes of them is 0, too, however it is computed.</param>
    public static void Write(string folder, string name, bool isGateClosed = false)
    {
        var (family, changes) = s_all.TryGetValue(name, out var known) ? (known.Family, known.Changes) : s_others[name];
        var config = JsonNode.Parse(File.ReadAllText(SharedMaterial.Golden("families", family + ".json")))!.AsObject();
        foreach (var (field, value) in JsonNode.Parse($"{{{changes}}}")!.AsObject())
            config[field] = value?.DeepClone();
        var text = config.ToJsonString();
        using var model = ModelLoader.Create(ModelConfigReader.Parse(text), 3);
        using var generator = new Generator(4, CPU);
        using (no_grad())
        {
            foreach (var weight in model.Weights.Where(w => !w.IsConstant))
                weight.Value.add_(randn([.. weight.Shape], generator: generator).mul_(0.12));
            foreach (var weight in model.Weights.Where(w => isGateClosed && s_gates.Any(w.Name.Contains)))
                weight.Value.zero_();
        }
        Directory.CreateDirectory(folder);
        SafetensorsWriter.WriteModel(folder, [.. model.Weights.Select(w => TensorToWrite.Of(w.Name, w.Value))]);
        File.WriteAllText(Path.Combine(folder, "config.json"), text);
    }
}
