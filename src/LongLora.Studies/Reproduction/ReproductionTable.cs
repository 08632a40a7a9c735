namespace LongLora.Studies;

/// <summary>One table of the paper and its counterpart here.</summary>
/// <param name="Title">What it compares.</param>
/// <param name="Columns">What it shows.</param>
/// <param name="Rows">Label, run, and the paper's figure; empty where it has none.</param>
/// <param name="Paper">What the paper's figures are, and where.</param>
internal sealed record ReproductionTable(
    string Title,
    ReproductionColumns Columns,
    IReadOnlyList<(string Label, string Run, string Paper)> Rows,
    string Paper
);
