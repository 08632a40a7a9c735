using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>The method, by default LongLoRA's: attention during training, and which weights are trained.</summary>
public sealed record MethodOptions
{
    /// <summary>Attention during training. Default shifted-sparse.</summary>
    public AttentionKind Attention { get; init; } = AttentionKind.ShiftedSparse;

    /// <summary>
    /// Group size as a fraction of the context, above 0 and at most 1. Default 0.25, as in the paper. Ignored if <see cref="GroupSize"/> is
    /// set.
    /// </summary>
    public double GroupRatio { get; init; } = 0.25;

    /// <summary>Group size in tokens, even, at most the context; null to use <see cref="GroupRatio"/>.</summary>
    public int? GroupSize { get; init; }

    /// <summary>
    /// Fraction of the sequences, 0 to 1, that are cut into windows of the model's original context to keep its quality on short text. With
    /// by-length scaling these windows have the original positions. Only for plain text. Default 0, as in the paper.
    /// </summary>
    public double ShortShare { get; init; }

    /// <summary>Which weights are trained. Default lora-plus.</summary>
    public TuningMethod Tuning { get; init; } = TuningMethod.LoraPlus;

    /// <summary>r, the rank of the LoRA matrices. Default 8, the paper's.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>LoRA's alpha: the update is scaled by alpha / r. Default 16, the paper's.</summary>
    public double Alpha { get; init; } = 16;

    /// <summary>
    /// Linear layers that get LoRA, by the last part of their names; <c>attention</c> stands for those of the attention branch,
    /// <c>all-linear</c> for all but the head. Default: attention.
    /// </summary>
    public IReadOnlyList<string> TargetModules { get; init; } = [AdapterOptions.AttentionLayers];

    /// <summary>
    /// The form of the updates: lora, dora (with a trained magnitude for each row), or pissa (LoRA that starts from the principal part of
    /// each matrix; saved as plain LoRA of twice the rank). Default lora, as in the paper.
    /// </summary>
    public AdapterKind AdapterKind { get; init; }

    /// <summary>Whether updates are scaled by alpha / sqrt(r), so that a high rank learns as fast as a low one. Default false.</summary>
    public bool Rslora { get; init; }

    /// <summary>
    /// How pissa finds the principal part: 0 for exact SVD, which is slow for large matrices; otherwise the number of iterations of
    /// randomized SVD, such as 4. Default 0.
    /// </summary>
    public int PissaIterations { get; init; }

    /// <summary>Whether the embeddings (and a tied head) are trained. Default: yes, except with plain LoRA.</summary>
    public bool? TrainEmbeddings { get; init; }

    /// <summary>Whether the norms are trained. Default: yes, except with plain LoRA.</summary>
    public bool? TrainNorms { get; init; }

    /// <summary>Whether the embeddings are trained, with the default resolved.</summary>
    public bool TrainsEmbeddings => TrainEmbeddings ?? Tuning != TuningMethod.Lora;

    /// <summary>Whether the norms are trained, with the default resolved.</summary>
    public bool TrainsNorms => TrainNorms ?? Tuning != TuningMethod.Lora;

    /// <summary>The group size in tokens, with the ratio resolved: even and at least 2.</summary>
    /// <param name="context">Tokens in one training sequence.</param>
    public int ResolveGroupSize(int context) => GroupSize ?? Math.Max(2, (int)Math.Ceiling(context * GroupRatio / 2) * 2);

    /// <summary>Creates the attention for training.</summary>
    /// <param name="context">Tokens in one training sequence.</param>
    internal IAttention MakeAttention(int context) =>
        Attention switch
        {
            AttentionKind.ShiftedSparse => new ShiftedSparseAttention(ResolveGroupSize(context)),
            AttentionKind.Grouped => new GroupedAttention(ResolveGroupSize(context)),
            AttentionKind.Dilated => new DilatedAttention(ResolveGroupSize(context)),
            AttentionKind.Full => new FullAttention(),
            _ => throw new ConfigurationException(
                $"attention is {Attention}, which is unknown. Use shifted-sparse or full (or grouped or dilated, for ablations)."
            ),
        };

    /// <summary>Converts these options to adapter options.</summary>
    internal AdapterOptions MakeAdapterOptions() =>
        new()
        {
            Rank = Rank,
            Alpha = Alpha,
            Kind = AdapterKind,
            RankStabilized = Rslora,
            PissaIterations = PissaIterations,
            TargetModules = TargetModules,
            TrainEmbeddings = TrainsEmbeddings,
            TrainNorms = TrainsNorms,
            TrainEverything = Tuning == TuningMethod.Full,
        };

    /// <summary>Adds the problems of these options to a list.</summary>
    /// <param name="problems">The list.</param>
    /// <param name="model">The model options to check them with.</param>
    internal void Check(OptionProblems problems, ModelOptions model)
    {
        problems.Require(GroupRatio is > 0 and <= 1, $"group-ratio is {GroupRatio}; it must be above 0 and at most 1");
        problems.Require(
            GroupSize is null || (GroupSize >= 2 && GroupSize % 2 == 0 && GroupSize <= model.Context),
            $"group-size is {GroupSize}; it must be even, at least 2 and at most the context, {model.Context}"
        );
        problems.Require(ShortShare is >= 0 and <= 1, $"short-share is {ShortShare}; it must be from 0 to 1");
        problems.Require(model.FromScratch is null || Tuning == TuningMethod.Full, "from-scratch trains every weight; set tuning to full");
        problems.Require(Rank >= 1, $"rank is {Rank}; it must be at least 1");
        if (Rank >= 1)
            MakeAdapterOptions().Check(problems);
    }
}
