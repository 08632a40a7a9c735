namespace LongLora.Studies;

/// <summary>One context length.</summary>
/// <param name="Context">L.</param>
/// <param name="GroupSize">G.</param>
/// <param name="Sparse">The step with S²-Attn.</param>
/// <param name="Full">The step with full attention, if it was measured.</param>
/// <param name="GemmRate">Operations per second of the model's matrix products alone, <see cref="Studies.GemmRate.Measure"/>.</param>
internal sealed record StepBenchmarkResult(int Context, int GroupSize, StepMeasurement Sparse, StepMeasurement? Full, double GemmRate);
