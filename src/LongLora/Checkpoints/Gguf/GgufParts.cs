using LongLora.Configs;
using LongLora.Runtime;
using static LongLora.Checkpoints.GgufRows;
using static TorchSharp.torch;

namespace LongLora.Checkpoints;

// E experts

/// <summary>Groups of tensors that several families share: names here, and names as gguf-py lists them.</summary>
internal static class GgufParts
{
    public static GgufPart[] Norms { get; } = [.. Both("input_layernorm", "attn_norm"), .. Both("post_attention_layernorm", "ffn_norm")];

    public static GgufPart[] Values { get; } = [.. Both("self_attn.v_proj", "attn_v"), .. Both("self_attn.o_proj", "attn_output")];

    public static GgufPart[] WholeAttention { get; } =
    [.. Both("self_attn.q_proj", "attn_q"), .. Both("self_attn.k_proj", "attn_k"), .. Values];

    public static GgufPart[] NeighborAttention { get; } =
    [
        .. Both("self_attn.q_proj", "attn_q", config => Neighbors(config.HeadCount, config.HeadSize)),
        .. Both("self_attn.k_proj", "attn_k", config => Neighbors(config.KeyValueHeadCount, config.HeadSize)),
        .. Values,
    ];

    public static GgufPart[] HeadNorms { get; } =
    [new("self_attn.q_norm.weight", "attn_q_norm.weight"), new("self_attn.k_norm.weight", "attn_k_norm.weight")];

    public static GgufPart[] Plain { get; } = [.. Both("mlp.up_proj", "ffn_up"), .. Both("mlp.down_proj", "ffn_down")];

    public static GgufPart[] Gated { get; } = [.. Both("mlp.gate_proj", "ffn_gate"), .. Plain];

    public static GgufPart[] Fused { get; } = [.. Both("mlp.gate_up_proj", "ffn_up"), .. Both("mlp.down_proj", "ffn_down")];

    // Norms after the branches and none before them.
    public static GgufPart[] EndNorms { get; } =
    [
        new("post_attention_layernorm.weight", "post_attention_norm.weight"),
        new("post_feedforward_layernorm.weight", "post_ffw_norm.weight"),
    ];

    public static GgufPart[] Ends { get; } =
    [new("model.embed_tokens.weight", "token_embd.weight"), .. Both("model.norm", "output_norm"), .. Both("lm_head", "output")];

    public static GgufPart[] GemmaNorms { get; } =
    [new("input_layernorm.weight", "attn_norm.weight"), .. EndNorms, new("pre_feedforward_layernorm.weight", "ffn_norm.weight")];

    // A module's weight and bias.
    public static GgufPart[] Both(string name, string stored, Func<ModelConfig, int[]>? rows = null) =>
        [new(name + ".weight", stored + ".weight") { Rows = rows }, new(name + ".bias", stored + ".bias") { Rows = rows }];

    public static GgufPart[] Experts(string name, string gate, string up, string down) =>
        [
            new(name + ".gate.weight", "ffn_gate_inp.weight"),
            new($"{name}.experts.{GgufPart.Expert}.{gate}.weight", "ffn_gate_exps.weight"),
            new($"{name}.experts.{GgufPart.Expert}.{up}.weight", "ffn_up_exps.weight"),
            new($"{name}.experts.{GgufPart.Expert}.{down}.weight", "ffn_down_exps.weight"),
        ];

    // Every second output of a stack [E, inputs, outputs], and of its biases [E, outputs].
    public static GgufPart[] Alternating(string name, string stored, int first) =>
        [
            new(name, stored + ".weight")
            {
                View = all => all.slice(2, first, all.size(2), 2).transpose(1, 2),
                Shape = s => [s[0], s[2], 2 * s[1]],
            },
            new(name + "_bias", stored + ".bias") { View = all => all.slice(1, first, all.size(1), 2), Shape = s => [s[0], 2 * s[1]] },
        ];

    // Norms that multiply by 1 + w here and by what is stored in engines.
    public static IEnumerable<GgufPart> Offset(IEnumerable<GgufPart> parts) =>
        parts.Select(part =>
            part.Name.Contains("norm", StringComparison.Ordinal) ? part with { Values = (w => AddOnes(w, 1), w => AddOnes(w, -1)) } : part
        );

    private static Tensor AddOnes(Tensor weight, long times)
    {
        using var ones = empty_like(weight).fill_(Scalars.One);
        return weight.add(ones, Scalars.Of(times));
    }
}
