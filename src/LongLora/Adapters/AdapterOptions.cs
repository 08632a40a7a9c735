using LongLora.Runtime;

namespace LongLora.Adapters;

/// <summary>What is trained on a model.</summary>
public sealed record AdapterOptions
{
    /// <summary>r; 0 for no LoRA at all. Default 8.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>alpha; updates are scaled by alpha / r. Default 16.</summary>
    public double Alpha { get; init; } = 16;

    /// <summary>The form of the updates. Default LoRA.</summary>
    public AdapterKind Kind { get; init; }

    /// <summary>Whether updates are scaled by alpha / sqrt(r) instead (rsLoRA, arXiv 2312.03732). Default false.</summary>
    public bool RankStabilized { get; init; }

    /// <summary>
    /// How PiSSA finds the principal part of a matrix: 0 for exact SVD, which is slow for large matrices; otherwise the number of
    /// iterations of randomized SVD, such as 4. Default 0.
    /// </summary>
    public int PissaIterations { get; init; }

    /// <summary>
    /// Last parts of the names of the layers that get LoRA; <see cref="AttentionLayers"/> stands for all linear layers of the attention
    /// branch, whatever they are called in the model's family, and <see cref="AllLayers"/> for those of the MLP too. Default: attention.
    /// </summary>
    public IReadOnlyList<string> TargetModules { get; init; } = [AttentionLayers];

    /// <summary>
    /// The target that means all layers of attention: q_proj, k_proj, v_proj, o_proj in most families, qkv_proj, o_proj in Phi-3,
    /// query_key_value, dense in GPT-NeoX.
    /// </summary>
    public const string AttentionLayers = "attention";

    /// <summary>The target that means all linear layers except the head, as in QLoRA. The name is PEFT's.</summary>
    public const string AllLayers = "all-linear";

    /// <summary>Whether the embeddings (and a tied head) are trained. Default true (LoRA+).</summary>
    public bool TrainEmbeddings { get; init; } = true;

    /// <summary>Whether all norms are trained. Default true (LoRA+).</summary>
    public bool TrainNorms { get; init; } = true;

    /// <summary>Whether every weight is trained: full fine-tuning, without LoRA.</summary>
    public bool TrainEverything { get; init; }

    /// <summary>Adds the problems of new LoRA matrices to a list.</summary>
    internal void Check(OptionProblems problems)
    {
        problems.Require(Rank >= 0, $"rank is {Rank}; it must be at least 1, or 0 for no LoRA");
        problems.Require(Alpha > 0 && double.IsFinite(Alpha), $"alpha is {Alpha}; it must be above 0");
        problems.Require(
            PissaIterations >= 0 && (PissaIterations == 0 || Kind == AdapterKind.Pissa),
            $"pissa-iterations is {PissaIterations}; it must be 0 or more, and it must be 0 unless adapter-kind is pissa"
        );
        problems.Require(
            TargetModules.Count > 0 || Rank <= 0 || TrainEverything,
            "target-modules is empty; LoRA needs at least one projection"
        );
    }
}
