using LongLora.Data;
using LongLora.Positions;
using LongLora.Runtime;
using LongLora.Training;
using static LongLora.Options.OptionEffect;

namespace LongLora.Options;

/// <summary>
/// All options of a run. Recipes, the command line, its help and saved recipes are all made from this list. A test compares it with the
/// properties of the parts of <see cref="FineTuneOptions"/>.
/// </summary>
internal static class FineTuneOptionTable
{
    /// <summary>All defaults, with the required options not set.</summary>
    public static FineTuneOptions Defaults { get; } =
        new()
        {
            Model = new() { Context = 0 },
            Data = new() { Sources = [] },
            Run = new() { Output = "" },
        };

    private static readonly OptionBuilder<ModelOptions> s_model = new(OptionPart.Model, o => o.Model, (o, v) => o with { Model = v });
    private static readonly OptionBuilder<DataOptions> s_data = new(OptionPart.Data, o => o.Data, (o, v) => o with { Data = v });
    private static readonly OptionBuilder<MethodOptions> s_method = new(OptionPart.Method, o => o.Method, (o, v) => o with { Method = v });
    private static readonly OptionBuilder<OptimizerOptions> s_optimizer = new(
        OptionPart.Optimizer,
        o => o.Optimizer,
        (o, v) => o with { Optimizer = v }
    );
    private static readonly OptionBuilder<RunOptions> s_run = new(OptionPart.Run, o => o.Run, (o, v) => o with { Run = v });
    private static readonly OptionBuilder<MachineOptions> s_machine = new(
        OptionPart.Machine,
        o => o.Machine,
        (o, v) => o with { Machine = v }
    );

    /// <summary>The options in the order of help and recipe.</summary>
    public static IReadOnlyList<FineTuneOption> All { get; } =
    [
        s_model.Text(
            "model",
            "Run",
            None,
            "DIR",
            "model to extend: a folder, a .gguf file, org/name in the Hugging Face cache, or ollama:NAME",
            o => o.Path,
            (o, v) => o with { Path = v }
        ) with
        {
            Required = "required unless --from-scratch",
        },
        s_data.Choice(
            "task",
            "Run",
            Tokens,
            "train on plain text, or on the answers of conversations (longlora sft)",
            o => o.Task,
            (o, v) => o with { Task = v }
        ),
        s_model.OptionalText(
            "from-scratch",
            "Run",
            None,
            "CONFIG",
            "config.json of a new model to train instead; requires --tuning full",
            o => o.FromScratch,
            (o, v) => o with { FromScratch = v }
        ),
        s_model.OptionalText(
            "tokenizer",
            "Run",
            None,
            "DIR",
            "folder of the tokenizer for --from-scratch",
            o => o.Tokenizer,
            (o, v) => o with { Tokenizer = v }
        ),
        s_data.List(
            "data",
            "Run",
            None,
            "PATH[@WEIGHT]",
            "files and folders to train on; WEIGHT is how often each is seen per pass",
            o => [.. o.Sources.Select(d => d.ToString())],
            (o, v) => o with { Sources = [.. v.Select(DataSource.Parse)] }
        ) with
        {
            Required = "required",
        },
        s_model.Whole(
            "context",
            "Run",
            AnswerTokens | Numbers,
            "new context in tokens",
            o => o.Context,
            (o, v) => o with { Context = v }
        ) with
        {
            Required = "required",
        },
        s_run.Text(
            "output",
            "Run",
            None,
            "DIR",
            "run directory, new or empty unless --resume",
            o => o.Output,
            (o, v) => o with { Output = v }
        ) with
        {
            Required = "required",
        },
        s_run.Switch(
            "resume",
            "Run",
            None,
            "continue the run in --output from its newest checkpoint",
            o => o.Resume,
            (o, v) => o with { Resume = v }
        ),
        s_method.Choice("attention", "Method", Numbers, "attention during training", o => o.Attention, (o, v) => o with { Attention = v }),
        s_method.Real(
            "group-ratio",
            "Method",
            Numbers,
            "attention group size as a fraction of the context, above 0 and at most 1",
            o => o.GroupRatio,
            (o, v) => o with { GroupRatio = v }
        ),
        s_method.OptionalWhole(
            "group-size",
            "Method",
            Numbers,
            "attention group size in tokens, even; overrides --group-ratio",
            o => o.GroupSize,
            (o, v) => o with { GroupSize = v }
        ),
        s_method.Choice("tuning", "Method", Numbers, "what is trained", o => o.Tuning, (o, v) => o with { Tuning = v }),
        s_method.Whole("rank", "Method", Numbers, "rank of the LoRA matrices", o => o.Rank, (o, v) => o with { Rank = v }),
        s_method.Real(
            "alpha",
            "Method",
            Numbers,
            "LoRA alpha; updates are scaled by alpha / rank",
            o => o.Alpha,
            (o, v) => o with { Alpha = v }
        ),
        s_method.List(
            "target-modules",
            "Method",
            Numbers,
            "NAME",
            "layers that get LoRA, such as q_proj; 'attention' means q, k, v and o, whatever the model calls them; 'all-linear' "
                + "adds the MLP",
            o => o.TargetModules,
            (o, v) => o with { TargetModules = v }
        ),
        s_method.Choice(
            "adapter-kind",
            "Method",
            Numbers,
            "form of the updates: LoRA, DoRA (trained magnitudes) or PiSSA (starts from the principal singular vectors)",
            o => o.AdapterKind,
            (o, v) => o with { AdapterKind = v }
        ),
        s_method.Switch("rslora", "Method", Numbers, "scale updates by alpha / sqrt(rank)", o => o.Rslora, (o, v) => o with { Rslora = v }),
        s_method.Whole(
            "pissa-iterations",
            "Method",
            Numbers,
            "iterations of randomized SVD for PiSSA, such as 4; 0 for exact SVD, which is slow",
            o => o.PissaIterations,
            (o, v) => o with { PissaIterations = v }
        ),
        s_method.OptionalSwitch(
            "train-embeddings",
            "Method",
            Numbers,
            "train the embeddings and a tied head [default: yes, except with --tuning lora]",
            o => o.TrainEmbeddings,
            (o, v) => o with { TrainEmbeddings = v }
        ),
        s_method.OptionalSwitch(
            "train-norms",
            "Method",
            Numbers,
            "train the norms [default: yes, except with --tuning lora]",
            o => o.TrainNorms,
            (o, v) => o with { TrainNorms = v }
        ),
        s_model.Text(
            "rope-scaling",
            "Method",
            Numbers,
            "KIND",
            $"how positions are rescaled: auto (the model's own kind, else yarn), {string.Join(", ", RopeScaling.Kinds)}, "
                + $"{RopeScaling.ByLength} (YaRN, but unchanged for text within the original context)",
            o => o.RopeScaling,
            (o, v) => o with { RopeScaling = v }
        ),
        s_model.OptionalReal(
            "rope-factor",
            "Method",
            Numbers,
            "rescaling factor [default: ceil(context / original context)]",
            o => o.RopeFactor,
            (o, v) => o with { RopeFactor = v }
        ),
        s_method.Real(
            "short-share",
            "Method",
            Numbers,
            "fraction of the sequences that are cut into windows of the original context",
            o => o.ShortShare,
            (o, v) => o with { ShortShare = v }
        ),
        s_optimizer.Whole("steps", "Training", Numbers, "optimizer steps", o => o.Steps, (o, v) => o with { Steps = v }),
        s_optimizer.Whole(
            "batch-size",
            "Training",
            Numbers,
            "sequences in one forward pass",
            o => o.BatchSize,
            (o, v) => o with { BatchSize = v }
        ),
        s_optimizer.Whole(
            "gradient-accumulation",
            "Training",
            Numbers,
            "forward passes per optimizer step, of all ranks together",
            o => o.GradientAccumulation,
            (o, v) => o with { GradientAccumulation = v }
        ),
        s_optimizer.Real(
            "learning-rate",
            "Training",
            Numbers,
            "peak learning rate",
            o => o.LearningRate,
            (o, v) => o with { LearningRate = v }
        ),
        s_optimizer.Whole(
            "warmup-steps",
            "Training",
            Numbers,
            "steps over which the learning rate rises from 0",
            o => o.WarmupSteps,
            (o, v) => o with { WarmupSteps = v }
        ),
        s_optimizer.Choice("schedule", "Training", Numbers, "learning-rate schedule", o => o.Schedule, (o, v) => o with { Schedule = v }),
        s_optimizer.Real(
            "weight-decay",
            "Training",
            Numbers,
            "AdamW weight decay",
            o => o.WeightDecay,
            (o, v) => o with { WeightDecay = v }
        ),
        s_optimizer.Real(
            "beta1",
            "Training",
            Numbers,
            "AdamW decay rate of the first moment",
            o => o.Beta1,
            (o, v) => o with { Beta1 = v }
        ),
        s_optimizer.Real(
            "beta2",
            "Training",
            Numbers,
            "AdamW decay rate of the second moment",
            o => o.Beta2,
            (o, v) => o with { Beta2 = v }
        ),
        s_optimizer.Real("epsilon", "Training", Numbers, "AdamW epsilon", o => o.Epsilon, (o, v) => o with { Epsilon = v }),
        s_optimizer.Real(
            "max-grad-norm",
            "Training",
            Numbers,
            "clip gradients to this 2-norm; 0 for no clipping",
            o => o.MaxGradNorm,
            (o, v) => o with { MaxGradNorm = v }
        ),
        s_optimizer.Real(
            "skip-spikes",
            "Training",
            Numbers,
            "skip steps whose gradient norm is above this factor times the median of the last 32; 0 for none",
            o => o.SkipSpikes,
            (o, v) => o with { SkipSpikes = v }
        ),
        s_optimizer.OptionalChoice<GradientReduction>(
            "reduction",
            "Training",
            Numbers,
            "how gradients are added; exact: any number of ranks gives the same bits [default: exact; fast with --tuning full]",
            o => o.Reduction,
            (o, v) => o with { Reduction = v }
        ),
        s_run.Whole(
            "seed",
            "Training",
            Numbers,
            "seed for new weights and for the order of the data",
            o => o.Seed,
            (o, v) => o with { Seed = v }
        ),
        s_data.Switch(
            "shuffle",
            "Training",
            Numbers,
            "shuffle the sequences in each pass over the data",
            o => o.Shuffle,
            (o, v) => o with { Shuffle = v }
        ),
        s_data.Switch(
            "keep-documents-apart",
            "Data",
            Numbers,
            "documents in one sequence do not attend to each other; always so for sft",
            o => o.KeepDocumentsApart,
            (o, v) => o with { KeepDocumentsApart = v }
        ),
        s_data.Text(
            "template",
            "Data",
            AnswerTokens,
            "NAME",
            "for sft: auto (the model's own), llama2, llama3, chatml, mistral, phi3, alpaca, longalpaca, or a Jinja file",
            o => o.Template,
            (o, v) => o with { Template = v }
        ),
        s_data.List(
            "template-options",
            "Data",
            AnswerTokens,
            "NAME=VALUE",
            "for sft: variables of the chat template, such as enable_thinking=false",
            o => o.TemplateOptions,
            (o, v) => o with { TemplateOptions = v }
        ),
        s_data.List(
            "columns",
            "Data",
            AnswerTokens,
            "NAME=COLUMN",
            "for sft: field names that differ, such as output=answer",
            o => o.Columns,
            (o, v) => o with { Columns = v }
        ),
        s_data.Switch(
            "keep-reasoning",
            "Data",
            AnswerTokens,
            "sft: learn the reasoning of answers also where the template leaves it out",
            o => o.KeepReasoning,
            (o, v) => o with { KeepReasoning = v }
        ),
        s_data.List(
            "ignore-fields",
            "Data",
            AnswerTokens,
            "NAME",
            "sft: fields of records and messages not to look at; unknown ones of a message are refused",
            o => o.IgnoreFields,
            (o, v) => o with { IgnoreFields = v }
        ),
        s_data.OptionalWhole(
            "token-bytes",
            "Data",
            TextTokens,
            "bytes per token in .bin data, 2 or 4 [default: from the vocabulary size]",
            o => o.TokenBytes,
            (o, v) => o with { TokenBytes = v }
        ),
        s_data.Text(
            "token-cache",
            "Data",
            None,
            "DIR",
            "folder that caches tokens for later runs on the same data",
            o => o.TokenCache,
            (o, v) => o with { TokenCache = v }
        ),
        s_run.Whole(
            "save-every",
            "Machine",
            None,
            "steps between checkpoints; 0 to save only at the end",
            o => o.SaveEvery,
            (o, v) => o with { SaveEvery = v }
        ),
        s_run.Whole(
            "keep-checkpoints",
            "Machine",
            None,
            "number of newest checkpoints to keep",
            o => o.KeepCheckpoints,
            (o, v) => o with { KeepCheckpoints = v }
        ),
        s_machine.Text("device", "Machine", None, "NAME", "auto, cpu, cuda or cuda:N", o => o.Device, (o, v) => o with { Device = v }),
        s_machine.OptionalChoice<ComputePrecision>(
            "compute",
            "Machine",
            None,
            "number format of activations and products; auto: bf16 on GPUs, and on processors that multiply bf16 for models in 16 bits "
                + "[default: fp32 on the CPU, auto on CUDA]",
            o => o.Compute,
            (o, v) => o with { Compute = v }
        ),
        s_machine.Whole(
            "blocks-per-segment",
            "Machine",
            None,
            "decoder blocks per activation checkpoint; more blocks save memory but cost time",
            o => o.BlocksPerSegment,
            (o, v) => o with { BlocksPerSegment = v }
        ),
        s_machine.Choice(
            "quantization",
            "Machine",
            Numbers,
            "how the frozen matrices are stored: as in the model, in 4 bits (QLoRA), in 8 bits, or in the blocks of a GGUF file",
            o => o.Quantization,
            (o, v) => o with { Quantization = v }
        ),
        s_machine.Choice(
            "activation-offload",
            "Machine",
            None,
            "where activations are kept for the backward pass",
            o => o.ActivationOffload,
            (o, v) => o with { ActivationOffload = v }
        ),
        s_machine.Memory(
            "activation-memory",
            "Machine",
            None,
            "memory for activations that would otherwise be recomputed, such as 2GiB, or 0 for none; auto takes half of what is free "
                + "besides the run. It changes no bits",
            o => o.ActivationMemory,
            (o, v) => o with { ActivationMemory = v }
        ),
        s_machine.Whole(
            "sequence-parallel",
            "Machine",
            None,
            "ranks among which each sequence is divided; the number of processes is a multiple of it",
            o => o.SequenceParallel,
            (o, v) => o with { SequenceParallel = v }
        ),
        s_machine.Choice(
            "shard",
            "Machine",
            None,
            "what is divided among the ranks of a job to save memory; with exact sums the result has the same bytes",
            o => o.Shard,
            (o, v) => o with { Shard = v }
        ),
        s_run.Whole(
            "rank-timeout",
            "Machine",
            None,
            "in a job of several ranks: seconds without progress after which a rank is taken for hung",
            o => o.RankTimeout,
            (o, v) => o with { RankTimeout = v }
        ),
        s_run.Switch(
            "check-memory",
            "Machine",
            None,
            "refuse a run that needs more memory than is available; see longlora plan",
            o => o.CheckMemory,
            (o, v) => o with { CheckMemory = v }
        ),
    ];

    /// <summary>Options under the names that they had in earlier versions. They are read, and never shown or written.</summary>
    public static IReadOnlyList<FineTuneOption> Former { get; } =
    [
        s_machine.OptionalChoice<ComputePrecision>(
            "cuda-compute",
            "Machine",
            None,
            "number format on CUDA; the CPU computes in fp32",
            o => o.Compute,
            (o, v) => o with { Compute = v, IsComputeOfCuda = true }
        ),
    ];

    /// <summary>Finds an option by name, which may be a former one.</summary>
    /// <exception cref="ConfigurationException">There is none; the message names the nearest.</exception>
    public static FineTuneOption Find(string name) =>
        All.Concat(Former).FirstOrDefault(o => o.Name == name)
        ?? throw new ConfigurationException($"There is no option '{name}'.{NearestName.Hint(name, All.Select(o => o.Name))}");

    /// <summary>The names that an enumeration's values have in recipes: <c>ShiftedSparse</c> is <c>shifted-sparse</c>.</summary>
    public static string ToKebabCase(string name) =>
        string.Concat(name.Select((c, i) => char.IsUpper(c) ? (i > 0 ? "-" : "") + char.ToLowerInvariant(c) : c.ToString()));
}
