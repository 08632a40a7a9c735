namespace LongLora.Evaluation;

/// <summary>Progress of an evaluation.</summary>
/// <param name="Context">The length that is being measured.</param>
/// <param name="Done">Windows done at this length.</param>
/// <param name="Total">Windows at this length.</param>
public readonly record struct PerplexityProgress(int Context, long Done, long Total);
