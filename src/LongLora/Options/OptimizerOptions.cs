using LongLora.Adapters;
using LongLora.Runtime;
using LongLora.Training;

namespace LongLora.Options;

/// <summary>The optimizer: number of steps, batch size, learning rate and AdamW's settings.</summary>
public sealed record OptimizerOptions
{
    /// <summary>Optimizer steps. Default 1000, the paper's.</summary>
    public int Steps { get; init; } = 1000;

    /// <summary>Sequences in one forward pass. Default 1.</summary>
    public int BatchSize { get; init; } = 1;

    /// <summary>Forward passes per optimizer step, of all ranks together. Default 8, as in the paper.</summary>
    public int GradientAccumulation { get; init; } = 8;

    /// <summary>Peak learning rate. Default 2e-5, the paper's.</summary>
    public double LearningRate { get; init; } = 2e-5;

    /// <summary>Steps over which the learning rate rises from 0. Default 20, the paper's.</summary>
    public int WarmupSteps { get; init; } = 20;

    /// <summary>Learning-rate schedule. Default constant-with-warmup, as in the paper.</summary>
    public ScheduleKind Schedule { get; init; } = ScheduleKind.ConstantWithWarmup;

    /// <summary>AdamW's weight decay, on every trained weight. Default 0, the paper's.</summary>
    public double WeightDecay { get; init; }

    /// <summary>AdamW's decay rate of the first moment. Default 0.9.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>AdamW's decay rate of the second moment. Default 0.95, the paper's.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>AdamW's epsilon. Default 1e-8.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Largest 2-norm of all gradients together; larger gradients are scaled down. 0 for no clipping. Default 1.</summary>
    public double MaxGradNorm { get; init; } = 1;

    /// <summary>
    /// Skips a step whose gradient norm is more than this factor times the median of the last 32 steps, as damaged text causes it. The step
    /// counts, but changes no weight. 0 for no skipping. Default 0.
    /// </summary>
    public double SkipSpikes { get; init; }

    /// <summary>
    /// How the gradients of micro-batches are added. Default exact, so that any number of ranks gives the same bits; fast for full tuning.
    /// </summary>
    public GradientReduction? Reduction { get; init; }

    /// <summary>Whether gradients are added as whole numbers, <see cref="Reduction"/> resolved.</summary>
    internal bool AddsExactly(TuningMethod tuning) =>
        (Reduction ?? (tuning == TuningMethod.Full ? GradientReduction.Fast : GradientReduction.Exact)) == GradientReduction.Exact;

    /// <summary>Converts these options to AdamW's settings.</summary>
    internal AdamWOptions MakeAdamWOptions() => new(Beta1, Beta2, Epsilon, WeightDecay, MaxGradNorm);

    /// <summary>Creates the learning-rate schedule.</summary>
    internal LearningRateSchedule MakeSchedule() => new(Schedule, WarmupSteps, Steps);

    /// <summary>Adds the problems of these options to a list.</summary>
    internal void Check(OptionProblems problems)
    {
        problems.Require(Steps >= 1, $"steps is {Steps}; it must be at least 1");
        problems.Require(BatchSize >= 1, $"batch-size is {BatchSize}; it must be at least 1");
        problems.Require(GradientAccumulation >= 1, $"gradient-accumulation is {GradientAccumulation}; it must be at least 1");
        problems.Require(LearningRate >= 0 && double.IsFinite(LearningRate), $"learning-rate is {LearningRate}; it must be 0 or more");
        problems.Require(WarmupSteps >= 0, $"warmup-steps is {WarmupSteps}; it must be 0 or more");
        problems.Require(WeightDecay >= 0, $"weight-decay is {WeightDecay}; it must be 0 or more");
        problems.Require(Beta1 is >= 0 and < 1, $"beta1 is {Beta1}; it must be at least 0 and below 1");
        problems.Require(Beta2 is >= 0 and < 1, $"beta2 is {Beta2}; it must be at least 0 and below 1");
        problems.Require(Epsilon > 0, $"epsilon is {Epsilon}; it must be above 0");
        problems.Require(
            SkipSpikes == 0 || (SkipSpikes > 1 && double.IsFinite(SkipSpikes)),
            $"skip-spikes is {SkipSpikes}; it must be 0 (no skipping) or above 1"
        );
        problems.Require(MaxGradNorm >= 0, $"max-grad-norm is {MaxGradNorm}; it must be 0 (no clipping) or more");
    }
}
