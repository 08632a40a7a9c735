using LongLora.Runtime;

namespace LongLora.Documents.Questions;

/// <summary>Options of <see cref="QuestionBuilder"/>.</summary>
public sealed record QuestionOptions
{
    /// <summary>Files and folders to ask about.</summary>
    public required IReadOnlyList<string> Data { get; init; }

    /// <summary>
    /// The file to write: questions and answers as a JSON array in Alpaca's format, or, without an endpoint, the prompts, one per line.
    /// </summary>
    public required string Output { get; init; }

    /// <summary>
    /// Base address of an OpenAI-compatible service, such as <c>http://127.0.0.1:8080/v1</c>; null to write only prompts.
    /// </summary>
    public Uri? Endpoint { get; init; }

    /// <summary>Name of the model to request from the service. Default <c>default</c>, which services with a single model accept.</summary>
    public string Model { get; init; } = "default";

    /// <summary>Secret that is sent as a bearer token, or null. It is never written anywhere.</summary>
    public string? ApiKey { get; init; }

    /// <summary>The kinds of questions, used in turn. Default: all of <see cref="QuestionTask.All"/>.</summary>
    public IReadOnlyList<QuestionTask> Tasks { get; init; } = QuestionTask.All;

    /// <summary>What the documents are. Default material.</summary>
    public MaterialKind Kind { get; init; } = MaterialKind.Material;

    /// <summary>The longest chunk of a document in one prompt, in characters, at least 500. Default 32,000, about 8,000 tokens.</summary>
    public int ChunkCharacters { get; init; } = 32_000;

    /// <summary>Questions per chunk. Default 1.</summary>
    public int PerChunk { get; init; } = 1;

    /// <summary>The most questions to ask; null for no limit.</summary>
    public int? Limit { get; init; }

    /// <summary>Number of parallel requests. Default 4.</summary>
    public int Parallel { get; init; } = 4;

    /// <summary>How often a request is repeated if it failed or its answer has a wrong format. Default 4.</summary>
    public int Retries { get; init; } = 4;

    /// <summary>Sampling temperature. Default 0.7.</summary>
    public double Temperature { get; init; } = 0.7;

    /// <summary>Longest answer in tokens. Default 1024.</summary>
    public int MaxTokens { get; init; } = 1024;

    /// <summary>Wait before the first repetition; doubled each time, up to one minute. Default 1 s.</summary>
    public TimeSpan FirstDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Checks what can be checked without opening a file.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    public void Validate()
    {
        var problems = new List<string>();
        void Require(bool holds, string problem)
        {
            if (!holds)
                problems.Add(problem);
        }
        Require(Data.Count > 0, "data is empty. Give at least one file or folder");
        Require(Output.Length > 0, "output is empty. Give the file to write");
        Require(
            Endpoint is null or { IsAbsoluteUri: true, Scheme: "http" or "https" },
            $"endpoint is {Endpoint}, but it must be an address such as http://127.0.0.1:8080/v1"
        );
        Require(Tasks.Count > 0, "tasks is empty. Give at least one");
        Require(ChunkCharacters >= 500, $"chunk is {ChunkCharacters}, but it must be at least 500 characters");
        Require(PerChunk >= 1, $"per-chunk is {PerChunk}, but it must be at least 1");
        Require(Limit is null or >= 1, $"limit is {Limit}, but it must be at least 1");
        Require(Parallel >= 1, $"parallel is {Parallel}, but it must be at least 1");
        Require(Retries >= 0, $"retries is {Retries}, but it must be 0 or more");
        Require(Temperature >= 0, $"temperature is {Temperature}, but it must be 0 or more");
        Require(MaxTokens >= 1, $"max-tokens is {MaxTokens}, but it must be at least 1");
        if (problems.Count > 0)
            throw new ConfigurationException(string.Join(Environment.NewLine, problems.Select(p => $"Option {p}.")));
    }
}
