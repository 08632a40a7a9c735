namespace LongLora.Training;

/// <summary>What one optimizer step of all ranks found.</summary>
/// <param name="Loss">Mean loss in nats per token.</param>
/// <param name="GradientNorm">2-norm of all gradients before clipping.</param>
internal readonly record struct StepOutcome(double Loss, double GradientNorm)
{
    /// <summary>Tokens of all micro-batches of all ranks.</summary>
    internal long Tokens { get; init; }
}
