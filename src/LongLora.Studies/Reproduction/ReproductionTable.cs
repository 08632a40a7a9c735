namespace LongLora.Studies;

/// <summary>One table of the paper and its counterpart here.</summary>
/// <param name="Title">What it compares.</param>
/// <param name="Columns">What it shows.</param>
/// <param name="Rows">Label, run, and the paper's number; empty if it has none.</param>
/// <param name="Paper">What the paper's numbers are, and where they come from.</param>
internal sealed record ReproductionTable(
    string Title,
    ReproductionColumns Columns,
    IReadOnlyList<(string Label, string Run, string Paper)> Rows,
    string Paper
);
