using LongLora.Runtime;

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

    /// <summary>Checks all options.</summary>
    /// <param name="hasText">Whether there is running text for what is not generated.</param>
    /// <exception cref="ConfigurationException">Lists what is wrong.</exception>
    public void Validate(bool hasText)
    {
        OptionProblems.ThrowIfAny(Check);
        if (!hasText && Generated < 1)
            throw new ConfigurationException(
                FormattableString.Invariant(
                    $"Cannot fill windows with text because there is none, and generated is {Generated}. Add text, "
                ) + "or set generated to 1."
            );
    }

    private void Check(OptionProblems problems)
    {
        problems.Require(Context >= ShortestContext, $"context is {Context}; it must be at least {ShortestContext}");
        problems.Require(Windows >= 1, $"windows is {Windows}; it must be at least 1");
        problems.Require(Generated is >= 0 and <= 1, FormattableString.Invariant($"generated is {Generated}; it must be from 0 to 1"));
        problems.Require(
            Weights.Count <= s_kinds.Length,
            $"weights has {Weights.Count} numbers; there are {s_kinds.Length} kinds of documents: {string.Join(", ", s_kinds)}"
        );
        foreach (var (i, weight) in Weights.Index())
            problems.Require(
                weight is >= 0 and < double.PositiveInfinity,
                FormattableString.Invariant($"weight {i + 1} is {weight}; it must be 0 or more")
            );
        problems.Require(Generated == 0 || Weights.Any(w => w > 0), "every weight is 0; at least one must be more");
    }

    private const int ShortestContext = 32;

    private static readonly string[] s_kinds = ["repetition", "facts", "pass key", "lines", "topics", "conversations"];
}
