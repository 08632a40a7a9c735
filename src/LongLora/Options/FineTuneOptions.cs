using LongLora.Adapters;
using LongLora.Attention;
using LongLora.Data;
using LongLora.Quantization;
using LongLora.Runs;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Options;

/// <summary>
/// All options of one fine-tuning run: the one tree that a recipe, the command line and the library share. Every property is a key of the
/// recipe and a flag of the command line under the same name in kebab-case (<c>LearningRate</c> is <c>learning-rate</c>).
/// </summary>
public sealed record FineTuneOptions
{
    /// <summary>Folder of the Hugging Face model to extend. Empty with <see cref="FromScratch"/>.</summary>
    public required string Model { get; init; }

    /// <summary>What is learnt from the data. Default text; <c>longlora sft</c> sets it to sft.</summary>
    public TrainingTask Task { get; init; }

    /// <summary>
    /// A <c>config.json</c> of a new model that is trained from random weights instead of <see cref="Model"/>; its context is
    /// <see cref="Context"/>. The new model is left in <c>initial/</c> of the output. Needs full tuning. Default null.
    /// </summary>
    public string? FromScratch { get; init; }

    /// <summary>Folder of the tokenizer that a new model gets; null for none, with token <c>.bin</c> as data. Default null.</summary>
    public string? Tokenizer { get; init; }

    /// <summary>
    /// Files and folders to train on, each with a weight where it is to be seen more or less often than once in a pass. For text:
    /// <c>.txt</c>, <c>.md</c>,
    /// <c>.jsonl</c> with <c>text</c>, token <c>.bin</c>; for sft: <c>.json</c> and <c>.jsonl</c>; both packed or not, and what further
    /// readers know. A folder stands for all of these below it.
    /// </summary>
    public required IReadOnlyList<DataSource> Data { get; init; }

    /// <summary>
    /// Tokens in one training sequence, which becomes the model's new context. At least the native context; for sft less is allowed, and
    /// then shortens examples but leaves the model's context alone.
    /// </summary>
    public required int Context { get; init; }

    /// <summary>The run directory. Must be new or empty unless <see cref="Resume"/>.</summary>
    public required string Output { get; init; }

    /// <summary>Attention while training. Default shifted-sparse.</summary>
    public AttentionKind Attention { get; init; } = AttentionKind.ShiftedSparse;

    /// <summary>
    /// Group size as a share of the context, above 0 and at most 1. Default 0.25, the paper's. Ignored where <see cref="GroupSize"/> is
    /// given.
    /// </summary>
    public double GroupRatio { get; init; } = 0.25;

    /// <summary>Group size in tokens, even, at most the context; null to use <see cref="GroupRatio"/>.</summary>
    public int? GroupSize { get; init; }

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

    /// <summary>Whether the embeddings (and a tied head) are trained. Default: yes, except with plain LoRA.</summary>
    public bool? TrainEmbeddings { get; init; }

    /// <summary>Whether the norms are trained. Default: yes, except with plain LoRA.</summary>
    public bool? TrainNorms { get; init; }

    /// <summary>
    /// How positions are rescaled: auto, default (not at all), linear, dynamic, yarn, llama3, or by-length (YaRN beyond the original
    /// context and nothing within it). Default auto: the kind that the model has, and linear, the paper's position interpolation, where
    /// it has none.
    /// </summary>
    public string RopeScaling { get; init; } = "auto";

    /// <summary>Rescaling factor; null for ceil(context / original context).</summary>
    public double? RopeFactor { get; init; }

    /// <summary>
    /// Share of the sequences, 0 to 1, that are cut into windows of the model's original context, so that it goes on learning short text
    /// too; with by-length scaling these have the original positions. For running text. Default 0, as in the paper.
    /// </summary>
    public double ShortShare { get; init; }

    /// <summary>Optimizer steps. Default 1000, the paper's.</summary>
    public int Steps { get; init; } = 1000;

    /// <summary>Sequences in one forward pass. Default 1.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>Forward passes added up in one optimizer step. Default 8, the paper's.</summary>
    public int GradientAccumulation { get; init; } = 8;

    /// <summary>Peak learning rate. Default 2e-5, the paper's.</summary>
    public double LearningRate { get; init; } = 2e-5;

    /// <summary>Steps over which the learning rate rises from 0. Default 20, the paper's.</summary>
    public int WarmupSteps { get; init; } = 20;

    /// <summary>Course of the learning rate. Default constant-with-warmup, the paper's.</summary>
    public ScheduleKind Schedule { get; init; } = ScheduleKind.ConstantWithWarmup;

    /// <summary>AdamW's weight decay, on every trained weight. Default 0, the paper's.</summary>
    public double WeightDecay { get; init; }

    /// <summary>AdamW's decay rate of the first moment. Default 0.9.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>AdamW's decay rate of the second moment. Default 0.95, the paper's.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>AdamW's epsilon. Default 1e-8.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Largest 2-norm of all gradients together, above which they are scaled down; 0 to leave them. Default 1.</summary>
    public double MaxGradNorm { get; init; } = 1;

    /// <summary>Seed of the LoRA matrices and of the order of the data. Default 42.</summary>
    public int Seed { get; init; } = 42;

    /// <summary>Whether sequences are shuffled, anew in each pass over the data. Default true.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>
    /// Whether documents that share a sequence do not see each other. Default false, as in the paper; for sft they never do.
    /// </summary>
    public bool KeepDocumentsApart { get; init; }

    /// <summary>
    /// How conversations are written, for sft: auto for the model's own chat template, the name of a well-known one
    /// (<see cref="Tokenization.ChatTemplate.Names"/>), or a Jinja file. Default auto.
    /// </summary>
    public string Template { get; init; } = "auto";

    /// <summary>Other names for fields of the records, for sft, such as <c>output=answer</c>. Default none.</summary>
    public IReadOnlyList<string> Columns { get; init; } = [];

    /// <summary>
    /// Bytes a token in <c>.bin</c> data, 2 or 4; null for 2 where the vocabulary has at most 65,536 ids, else 4, as LongLoRA writes
    /// them.
    /// </summary>
    public int? TokenBytes { get; init; }

    /// <summary>Folder in which tokens stay for later runs on the same data; empty for none. Default none.</summary>
    public string TokenCache { get; init; } = "";

    /// <summary>Steps between two saved checkpoints; 0 to save only at the end or when interrupted. Default 100.</summary>
    public int SaveEvery { get; init; } = 100;

    /// <summary>Newest checkpoints to keep. Default 2.</summary>
    public int KeepCheckpoints { get; init; } = 2;

    /// <summary>
    /// Continues the run in <see cref="Output"/> from its newest checkpoint; starts anew where there is none. Default false.
    /// </summary>
    public bool Resume { get; init; }

    /// <summary>Where to compute: auto (CUDA where there is one), cpu, cuda, cuda:N. Default auto.</summary>
    public string Device { get; init; } = "auto";

    /// <summary>
    /// What CUDA computes in: bf16, fp32 with the mantissas of products cut to 10 bits (tf32, the faster fp32), or fp32. Trained weights,
    /// gradients and optimizer state are fp32 in each. The CPU always computes in fp32. Default bf16. Unverified on a GPU.
    /// </summary>
    public CudaCompute CudaCompute { get; init; } = CudaCompute.Bf16;

    /// <summary>
    /// Form of the frozen matrices: none (as stored), nf4 (QLoRA: 0.516 bytes a weight), int8. Quantised while loading; not with full
    /// tuning. A model that is stored in few bits is used as it is. Default none.
    /// </summary>
    public QuantizationKind Quantization { get; init; } = QuantizationKind.None;

    /// <summary>
    /// Decoder blocks between two kept activations, at least 1. With 1 nothing costly is computed twice; more save memory in deep models
    /// and cost about a third more time. Default 1.
    /// </summary>
    public int BlocksPerSegment { get; init; } = 1;

    /// <summary>
    /// Where activations wait for the backward pass. Default auto: in memory while they take less than half of what is free.
    /// </summary>
    public ActivationOffload ActivationOffload { get; init; } = ActivationOffload.Auto;

    /// <summary>Whether a run is refused that needs more memory than the device has (<see cref="TrainingPlan"/>). Default true.</summary>
    public bool CheckMemory { get; init; } = true;

    /// <summary>Whether the embeddings are trained once the default is resolved.</summary>
    public bool TrainsEmbeddings => TrainEmbeddings ?? Tuning != TuningMethod.Lora;

    /// <summary>Whether the norms are trained once the default is resolved.</summary>
    public bool TrainsNorms => TrainNorms ?? Tuning != TuningMethod.Lora;

    /// <summary>The group size in tokens once the ratio is resolved: even and at least 2.</summary>
    public int ResolvedGroupSize => GroupSize ?? Math.Max(2, (int)Math.Ceiling(Context * GroupRatio / 2) * 2);

    /// <summary>Checks every option that can be checked without opening a file.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    public void Validate()
    {
        var problems = new List<string>();
        void Require(bool holds, string problem)
        {
            if (!holds)
                problems.Add(problem);
        }

        Require(Model.Length > 0 || FromScratch is not null, "model is empty; give the folder of a Hugging Face model");
        Require(
            Model.Length == 0 || FromScratch is null,
            $"both model, '{Model}', and from-scratch, '{FromScratch}', are given; give one of them"
        );
        Require(FromScratch is null || Tuning == TuningMethod.Full, "from-scratch trains every weight; set tuning to full");
        Require(FromScratch is not null || Tokenizer is null, "tokenizer is given, but a model that exists brings its own; leave it out");
        Require(Data.Count > 0, "data is empty; give at least one file or folder");
        foreach (var (path, weight) in Data)
            Require(weight > 0 && double.IsFinite(weight), $"data has '{path}' with the weight {weight}; it must be above 0");
        Require(TokenBytes is null or 2 or 4, $"token-bytes is {TokenBytes}; it must be 2 or 4");
        Require(Template.Length > 0, "template is empty; use auto for the model's own");
        Require(Output.Length > 0, "output is empty; give the run directory");
        Require(Context >= 2, $"context is {Context}; it must be at least 2 tokens");
        Require(GroupRatio is > 0 and <= 1, $"group-ratio is {GroupRatio}; it must be above 0 and at most 1");
        Require(
            GroupSize is null || (GroupSize >= 2 && GroupSize % 2 == 0 && GroupSize <= Context),
            $"group-size is {GroupSize}; it must be even, at least 2 and at most the context, {Context}"
        );
        Require(Rank >= 1, $"rank is {Rank}; it must be at least 1");
        Require(Alpha > 0, $"alpha is {Alpha}; it must be above 0");
        Require(TargetModules.Count > 0 || Tuning == TuningMethod.Full, "target-modules is empty; LoRA needs at least one projection");
        Require(RopeFactor is null or >= 1, $"rope-factor is {RopeFactor}; it must be at least 1");
        Require(ShortShare is >= 0 and <= 1, $"short-share is {ShortShare}; it must be 0 to 1");
        Require(
            ShortShare == 0 || (Task == TrainingTask.Text && !KeepDocumentsApart),
            "short-share cuts running text; documents that are kept apart and examples of sft have lengths of their own"
        );
        Require(Steps >= 1, $"steps is {Steps}; it must be at least 1");
        Require(BatchSize >= 1, $"batch-size is {BatchSize}; it must be at least 1");
        Require(GradientAccumulation >= 1, $"gradient-accumulation is {GradientAccumulation}; it must be at least 1");
        Require(LearningRate >= 0 && double.IsFinite(LearningRate), $"learning-rate is {LearningRate}; it must be 0 or more");
        Require(WarmupSteps >= 0, $"warmup-steps is {WarmupSteps}; it must be 0 or more");
        Require(WeightDecay >= 0, $"weight-decay is {WeightDecay}; it must be 0 or more");
        Require(Beta1 is >= 0 and < 1, $"beta1 is {Beta1}; it must be at least 0 and below 1");
        Require(Beta2 is >= 0 and < 1, $"beta2 is {Beta2}; it must be at least 0 and below 1");
        Require(Epsilon > 0, $"epsilon is {Epsilon}; it must be above 0");
        Require(MaxGradNorm >= 0, $"max-grad-norm is {MaxGradNorm}; it must be 0 (no clipping) or more");
        Require(SaveEvery >= 0, $"save-every is {SaveEvery}; it must be 0 (only at the end) or more");
        Require(
            Quantization == QuantizationKind.None || Tuning != TuningMethod.Full,
            $"quantization is {Quantization.ToString().ToLowerInvariant()}, but tuning is full: quantised matrices cannot be trained; "
                + $"use lora-plus or lora, or no quantization"
        );
        Require(KeepCheckpoints >= 1, $"keep-checkpoints is {KeepCheckpoints}; it must be at least 1");
        Require(BlocksPerSegment >= 1, $"blocks-per-segment is {BlocksPerSegment}; it must be at least 1");
        if (problems.Count > 0)
            throw new ConfigurationException(string.Join(Environment.NewLine, problems));
    }
}
