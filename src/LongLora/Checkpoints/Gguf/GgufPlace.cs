namespace LongLora.Checkpoints;

/// <summary>Where a file has a tensor.</summary>
/// <param name="Part">What it is.</param>
/// <param name="Stored">Its name in the file.</param>
/// <param name="Layer">Its layer; -1 for none.</param>
/// <param name="Expert">Which of the stacked experts; null for no one or all.</param>
internal sealed record GgufPlace(GgufPart Part, string Stored, int Layer, int? Expert);
