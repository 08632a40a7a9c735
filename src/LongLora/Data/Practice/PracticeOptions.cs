namespace LongLora.Data;

/// <summary>How windows of practice are filled.</summary>
public sealed record PracticeOptions
{
    /// <summary>Tokens in a window.</summary>
    public required int Context { get; init; }

    /// <summary>Windows to make.</summary>
    public required int Windows { get; init; }

    /// <summary>Share of the documents that are generated, 0 to 1; the others are stretches of the text. Default 0.5.</summary>
    public double Generated { get; init; } = 0.5;

    /// <summary>
    /// How often each kind of generated document is drawn, in the order of <see cref="PracticeKind"/>; kinds without a number are never
    /// drawn. Default: all but the last alike.
    /// </summary>
    public IReadOnlyList<double> Weights { get; init; } = [1, 1, 1, 1, 1];

    /// <summary>Seed.</summary>
    public int Seed { get; init; } = 1;
}
