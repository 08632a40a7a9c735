namespace LongLora.Training;

/// <summary>The share of the peak learning rate at each step, exactly as transformers' schedulers compute it.</summary>
/// <param name="kind">The kind of schedule.</param>
/// <param name="warmupSteps">Steps of the linear rise from 0.</param>
/// <param name="totalSteps">Steps of the whole run: where cosine and linear reach zero.</param>
public sealed class LearningRateSchedule(ScheduleKind kind, int warmupSteps, int totalSteps)
{
    /// <summary>The factor for the optimizer step after <paramref name="step"/> earlier ones: 0 for the first one of a warm-up.</summary>
    public double GetFactor(long step)
    {
        if (step < warmupSteps)
            return (double)step / Math.Max(1, warmupSteps);
        var progress = (double)(step - warmupSteps) / Math.Max(1, totalSteps - warmupSteps);
        return kind switch
        {
            ScheduleKind.ConstantWithWarmup => 1,
            ScheduleKind.Cosine => Math.Max(0, 0.5 * (1 + Math.Cos(Math.PI * progress))),
            ScheduleKind.Linear => Math.Max(0, 1 - progress),
            _ => throw new Runtime.ConfigurationException(
                $"schedule is {kind}, which is unknown. Use constant-with-warmup, cosine or linear."
            ),
        };
    }
}
