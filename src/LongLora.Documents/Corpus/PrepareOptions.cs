using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>Options of <see cref="CorpusBuilder"/>.</summary>
public sealed record PrepareOptions
{
    /// <summary>Files and folders to read.</summary>
    public required IReadOnlyList<string> Data { get; init; }

    /// <summary>The folder to create or update.</summary>
    public required string Output { get; init; }

    /// <summary>What to write. Default jsonl.</summary>
    public CorpusFormat Format { get; init; } = CorpusFormat.Jsonl;

    /// <summary>
    /// Model folder whose tokenizer counts the tokens, and makes them for <see cref="CorpusFormat.Bin"/>; null to count only characters.
    /// </summary>
    public string? Model { get; init; }

    /// <summary>
    /// Whether texts are written as they are read, without the cleaning that <c>.txt</c> and other plain types get. Default false.
    /// </summary>
    public bool Raw { get; init; }

    /// <summary>Number of files to read in parallel. Default: the number of processors. The result does not depend on it.</summary>
    public int Parallel { get; init; } = Environment.ProcessorCount;

    /// <summary>Checks what can be checked without opening a file.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    public void Validate()
    {
        var problems = new List<string>();
        if (Data.Count == 0)
            problems.Add("data is empty. Give at least one file or folder");
        if (Output.Length == 0)
            problems.Add("output is empty. Give the folder to write");
        if (Format == CorpusFormat.Bin && Model is null)
            problems.Add("format is bin, but there is no model. Give the model whose tokenizer makes the tokens");
        if (Parallel < 1)
            problems.Add($"parallel is {Parallel}, but it must be at least 1");
        if (problems.Count > 0)
            throw new ConfigurationException(string.Join(Environment.NewLine, problems.Select(p => $"Option {p}.")));
    }
}
