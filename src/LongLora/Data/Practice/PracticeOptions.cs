namespace LongLora.Data;

/// <summary>How practice windows are filled.</summary>
internal sealed record PracticeOptions
{
    /// <summary>Tokens per window.</summary>
    public required int Context { get; init; }

    /// <summary>Number of windows to make.</summary>
    public required int Windows { get; init; }

    /// <summary>Share of the documents that are generated, 0 to 1; the others are passages of the text. Default 0.5.</summary>
    public double Generated { get; init; } = 0.5;

    /// <summary>
    /// Relative frequency of each kind of generated document, in the order of <see cref="PracticeKind"/>. Kinds without a number are not
    /// used. Default: all kinds but the last with equal frequency.
    /// </summary>
    public IReadOnlyList<double> Weights { get; init; } = [1, 1, 1, 1, 1];

    /// <summary>Seed.</summary>
    public int Seed { get; init; } = 1;
}
