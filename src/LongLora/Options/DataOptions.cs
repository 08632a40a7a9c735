using LongLora.Data;
using LongLora.Runtime;

namespace LongLora.Options;

/// <summary>Training data: the files, how they are read, and how they become sequences.</summary>
public sealed record DataOptions
{
    /// <summary>
    /// Files and folders to train on, <c>data</c> in a recipe. A weight says how often a source is seen per pass; the default is once. For
    /// text: <c>.txt</c>, <c>.md</c>, <c>.jsonl</c> with <c>text</c>, and token <c>.bin</c>. For sft: <c>.json</c> and <c>.jsonl</c>. All
    /// can be compressed, and readers can add formats. A folder means all such files in it.
    /// </summary>
    public required IReadOnlyList<DataSource> Sources { get; init; }

    /// <summary>The kind of training. Default text; <c>longlora sft</c> sets it to sft.</summary>
    public TrainingTask Task { get; init; }

    /// <summary>
    /// Chat template for sft: auto for the model's own, the name of a well-known one
    /// (<see cref="Tokenization.ChatTemplate.Names"/>), or a Jinja file. Default auto.
    /// </summary>
    public string Template { get; init; } = "auto";

    /// <summary>
    /// Variables of the chat template for sft, such as <c>enable_thinking=false</c>. A value is JSON or a text. Default none: what the
    /// template does without them.
    /// </summary>
    public IReadOnlyList<string> TemplateOptions { get; init; } = [];

    /// <summary>
    /// Whether sft also learns the reasoning of answers that the template leaves out, between <c>&lt;think&gt;</c> and
    /// <c>&lt;/think&gt;</c>, if the template has these marks. Default false: what the template writes.
    /// </summary>
    public bool KeepReasoning { get; init; }

    /// <summary>Other names for fields of the records, for sft, such as <c>output=answer</c>. Default none.</summary>
    public IReadOnlyList<string> Columns { get; init; } = [];

    /// <summary>
    /// Fields of records and messages that sft does not look at; <c>ignore-fields</c> in a recipe. Other fields of a message whose meaning
    /// is not known are refused. Default none.
    /// </summary>
    public IReadOnlyList<string> IgnoreFields { get; init; } = [];

    /// <summary>
    /// Bytes per token in <c>.bin</c> data, 2 or 4. Null means 2 if the vocabulary has at most 65,536 ids, else 4, as in LongLoRA.
    /// </summary>
    public int? TokenBytes { get; init; }

    /// <summary>Folder that caches tokens for later runs on the same data; empty for none. Default none.</summary>
    public string TokenCache { get; init; } = "";

    /// <summary>
    /// Whether documents in one sequence cannot attend to each other. Default false, as in the paper; always so for sft.
    /// </summary>
    public bool KeepDocumentsApart { get; init; }

    /// <summary>Whether sequences are shuffled, differently in each pass over the data. Default true.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>Adds the problems of these options to a list.</summary>
    internal void Check(OptionProblems problems)
    {
        problems.Require(Sources.Count > 0, "data is empty; give at least one file or folder");
        foreach (var (path, weight) in Sources)
            problems.Require(weight > 0 && double.IsFinite(weight), $"data has '{path}' with the weight {weight}; it must be above 0");
        problems.Require(TokenBytes is null or 2 or 4, $"token-bytes is {TokenBytes}; it must be 2 or 4");
        problems.Require(Template.Length > 0, "template is empty; use auto for the model's own");
    }
}
