namespace LongLora.Studies;

/// <summary>One training of the reproduction.</summary>
/// <param name="Name">Name of the run and its files.</param>
/// <param name="Settings">
/// What differs from the paper's method (S²-Attn with groups of L/4, LoRA+ of rank 8, interpolation), as lines of a recipe; null for no
/// training.
/// </param>
/// <param name="Stretch">How positions are rescaled without training; null for unchanged.</param>
internal sealed record ReproductionRun(string Name, IReadOnlyList<string>? Settings, string? Stretch = null)
{
    /// <summary>Whether all weights are trained.</summary>
    internal bool IsFull => Settings?.Contains(FullTuning) ?? false;

    internal const string FullTuning = "tuning: full";
}
