using LongLora.Training;

namespace LongLora.Studies;

/// <summary>The training step with one kind of attention.</summary>
/// <param name="Flops">Floating-point operations of one step.</param>
/// <param name="Seconds">Time of each timed step, in order: forward, backward, clipping and AdamW.</param>
/// <param name="Losses">Mean loss before each step in nats per token: of the untimed one first, then of the timed ones.</param>
/// <param name="ResidentBytes">Resident memory of the process with model, gradients and optimizer state, before the first step.</param>
/// <param name="PeakResidentBytes">Largest resident memory of the process in the first step.</param>
/// <param name="Planned">What <see cref="StepMemory"/> counts.</param>
internal sealed record StepMeasurement(
    StepFlops Flops,
    IReadOnlyList<double> Seconds,
    IReadOnlyList<double> Losses,
    long ResidentBytes,
    long PeakResidentBytes,
    StepMemory Planned
)
{
    /// <summary>The shortest step, which was disturbed least.</summary>
    public double MinSeconds => Seconds.Min();

    /// <summary>The step in the middle.</summary>
    public double MedianSeconds
    {
        get
        {
            var ordered = Seconds.Order().ToList();
            return (ordered[(ordered.Count - 1) / 2] + ordered[ordered.Count / 2]) / 2;
        }
    }

    /// <summary>Memory of a step in addition to the model, gradients and optimizer state.</summary>
    public long PeakBytes => PeakResidentBytes - ResidentBytes;

    /// <summary>Needed operations per second in the shortest step; recomputed ones are not counted.</summary>
    public double UsefulRate => Flops.Needed / MinSeconds;
}
