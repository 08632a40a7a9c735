using LongLora.Evaluation;
using LongLora.Training;

namespace LongLora.Reports;

/// <summary>
/// What a report shows of one run: read from its directory (<see cref="RunReader"/>), or put together by who made the run.
/// </summary>
public sealed record ReportRun
{
    /// <summary>Name of the run.</summary>
    public required string Name { get; init; }

    /// <summary>Heading of its part of the page.</summary>
    public required string Title { get; init; }

    /// <summary>A sentence or two on what was done; plain text.</summary>
    public required string Summary { get; init; }

    /// <summary>Its options in the order of the table; empty where there is no recipe.</summary>
    public IReadOnlyList<(string Name, string Value)> Facts { get; init; } = [];

    /// <summary>The steps of the training.</summary>
    public IReadOnlyList<TrainingStep> Steps { get; init; } = [];

    /// <summary>Perplexity by context, one entry per state.</summary>
    public IReadOnlyList<ReportPerplexity> Perplexity { get; init; } = [];

    /// <summary>Retrieval by length, one entry per task and state.</summary>
    public IReadOnlyList<ReportRetrieval> Retrieval { get; init; } = [];

    /// <summary>What was lost on short text.</summary>
    public IReadOnlyList<ShortTextChange> ShortText { get; init; } = [];

    /// <summary>Notes under the measures; plain text.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The recipe as it lies in the run directory; empty for none.</summary>
    public string Recipe { get; init; } = "";
}
