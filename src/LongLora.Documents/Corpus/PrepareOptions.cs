using LongLora.Runtime;

namespace LongLora.Documents.Corpus;

/// <summary>Options of <see cref="CorpusBuilder"/>.</summary>
public sealed record PrepareOptions
{
    /// <summary>Files and folders to read.</summary>
    public required IReadOnlyList<string> Data { get; init; }

    /// <summary>The folder to make or to bring up to date.</summary>
    public required string Output { get; init; }

    /// <summary>What to write. Default jsonl.</summary>
    public CorpusFormat Format { get; init; } = CorpusFormat.Jsonl;

    /// <summary>
    /// Model folder whose tokenizer counts the tokens, and makes them for <see cref="CorpusFormat.Bin"/>; null to count characters only.
    /// </summary>
    public string? Model { get; init; }

    /// <summary>
    /// Whether texts are written as they are read, without the cleaning that <c>.txt</c> and the other plain kinds get. Default false.
    /// </summary>
    public bool Raw { get; init; }

    /// <summary>Files that are read at the same time. Default: the number of processors. The result does not depend on it.</summary>
    public int Parallel { get; init; } = Environment.ProcessorCount;

    /// <summary>Checks what can be checked without opening a file.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    public void Validate()
    {
        var problems = new List<string>();
        if (Data.Count == 0)
            problems.Add("data is empty; give at least one file or folder");
        if (Output.Length == 0)
            problems.Add("output is empty; give the folder to write");
        if (Format == CorpusFormat.Bin && Model is null)
            problems.Add("format is bin, but no model is given; its tokenizer makes the tokens");
        if (Parallel < 1)
            problems.Add($"parallel is {Parallel}; it must be at least 1");
        if (problems.Count > 0)
            throw new ConfigurationException(string.Join(Environment.NewLine, problems.Select(p => $"Option {p}.")));
    }
}
