using LongLora.Runtime;

namespace LongLora.Generation;

/// <summary>How text is generated.</summary>
public sealed record GenerationOptions
{
    /// <summary>Most tokens to generate. Default 256.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Divides the logits before sampling; 0 takes the likeliest token each time (greedy). Default 0.</summary>
    public double Temperature { get; init; }

    /// <summary>Samples among the likeliest tokens only; 0 for all. Default 0.</summary>
    public int TopK { get; init; }

    /// <summary>
    /// Samples among the fewest tokens whose probabilities sum to this (arXiv 1904.09751), above 0, at most 1. Default 1.
    /// </summary>
    public double TopP { get; init; } = 1;

    /// <summary>Leaves out tokens less likely than this share of the likeliest (arXiv 2407.01082), from 0 to below 1. Default 0.</summary>
    public double MinP { get; init; }

    /// <summary>
    /// Divides positive and multiplies negative logits of tokens that are in the text already (arXiv 1909.05858), at least 1 for less
    /// repetition. Default 1.
    /// </summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>Seed of the sampling. Default 0.</summary>
    public int Seed { get; init; }

    /// <summary>Texts that end the generation where they appear; they are not part of the answer. Default none.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Token ids that end the generation as the model's own end of text does. Default none.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>Whether generation goes on behind a token that ends texts. Default false.</summary>
    public bool IgnoreEos { get; init; }

    /// <summary>
    /// Number of likeliest tokens whose log-probabilities are told with that of each chosen token; 0 for the chosen one alone, null for
    /// none. They are the model's own, before penalty and temperature. Default null.
    /// </summary>
    public int? TopLogProbabilities { get; init; }

    /// <summary>The format that the answer is bound to; null for free text. Default null.</summary>
    public AnswerFormat? Format { get; init; }

    /// <summary>Prompt tokens that are read at once: more is faster, and takes more memory. Default 1024.</summary>
    public int PrefillChunk { get; init; } = 1024;

    /// <summary>Told how much of the prompt is known before each chunk of it is read, on the thread that generates. Default null.</summary>
    public IProgress<PromptProgress>? PromptProgress { get; init; }

    /// <summary>Checks all options.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    public void Validate()
    {
        var problems = new List<string>();
        void Require(bool holds, string problem)
        {
            if (!holds)
                problems.Add(problem);
        }

        Require(MaxTokens >= 1, $"max-tokens is {MaxTokens}; it must be at least 1");
        Require(Temperature >= 0 && double.IsFinite(Temperature), $"temperature is {Temperature}; it must be 0 (greedy) or more");
        Require(TopK >= 0, $"top-k is {TopK}; it must be 0 (all tokens) or more");
        Require(TopP is > 0 and <= 1, $"top-p is {TopP}; it must be above 0 and at most 1");
        Require(MinP is >= 0 and < 1, $"min-p is {MinP}; it must be at least 0 and below 1");
        Require(RepetitionPenalty > 0, $"repetition-penalty is {RepetitionPenalty}; it must be above 0");
        Require(
            TopLogProbabilities is null or >= 0,
            $"top-logprobs is {TopLogProbabilities}; it must be 0 (the chosen token alone) or more"
        );
        Require(Stop.All(s => s.Length > 0), "a stop text is empty");
        Require(PrefillChunk >= 1, $"prefill-chunk is {PrefillChunk}; it must be at least 1");
        if (problems.Count > 0)
            throw new ConfigurationException(string.Join(Environment.NewLine, problems));
    }
}
