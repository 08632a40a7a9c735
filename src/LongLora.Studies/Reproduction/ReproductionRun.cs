namespace LongLora.Studies;

/// <summary>One training of the reproduction.</summary>
/// <param name="Name">Names its files.</param>
/// <param name="Settings">
/// What differs from the paper's method (S²-Attn with groups of L/4, LoRA+ of rank 8, interpolation), as lines of a recipe; null if
/// nothing is trained.
/// </param>
/// <param name="Stretch">How positions are rescaled where nothing is trained; null for not at all.</param>
internal sealed record ReproductionRun(string Name, IReadOnlyList<string>? Settings, string? Stretch = null)
{
    /// <summary>Whether all weights are trained.</summary>
    internal bool IsFull => Settings?.Contains(FullTuning) ?? false;

    internal const string FullTuning = "tuning: full";
}
