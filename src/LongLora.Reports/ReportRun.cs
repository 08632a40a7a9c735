using LongLora.Evaluation;
using LongLora.Training;

namespace LongLora.Reports;

/// <summary>
/// What a report shows of one run: read from its directory (<see cref="RunReader"/>), or assembled by the code that did the run.
/// </summary>
public sealed record ReportRun
{
    /// <summary>Name of the run.</summary>
    public required string Name { get; init; }

    /// <summary>Heading of its section of the page.</summary>
    public required string Title { get; init; }

    /// <summary>A sentence or two on what was done; plain text.</summary>
    public required string Summary { get; init; }

    /// <summary>Its options in the order of the table; empty without a recipe.</summary>
    public IReadOnlyList<(string Name, string Value)> Facts { get; init; } = [];

    /// <summary>The steps of the training.</summary>
    public IReadOnlyList<TrainingStep> Steps { get; init; } = [];

    /// <summary>Perplexity by context, one entry per state.</summary>
    internal IReadOnlyList<ReportPerplexity> Perplexity { get; init; } = [];

    /// <summary>Retrieval by length, one entry per task and state.</summary>
    internal IReadOnlyList<ReportRetrieval> Retrieval { get; init; } = [];

    /// <summary>Changes on short text.</summary>
    internal IReadOnlyList<ShortTextChange> ShortText { get; init; } = [];

    /// <summary>Loss on answers, one entry per state.</summary>
    internal IReadOnlyList<ReportAnswers> Answers { get; init; } = [];

    /// <summary>Perplexity along a streamed text, one entry per state.</summary>
    internal IReadOnlyList<ReportStreaming> Streaming { get; init; } = [];

    /// <summary>Notes below the results; plain text.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>The text of the recipe in the run directory; empty for none.</summary>
    public string Recipe { get; init; } = "";
}
