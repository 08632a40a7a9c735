using LongLora.Runtime;

namespace LongLora.Generation;

/// <summary>How text is generated.</summary>
public sealed record GenerationOptions
{
    private static readonly Dictionary<int, double> s_noBias = [];

    /// <summary>Most tokens to generate. Default 256.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Divides the logits before sampling; 0 takes the likeliest token each time (greedy). Default 0.</summary>
    public double Temperature { get; init; }

    /// <summary>Samples among the likeliest tokens only; 0 for all. Default 0.</summary>
    public int TopK { get; init; }

    /// <summary>
    /// Samples among the fewest tokens whose probabilities sum to this (arXiv 1904.09751), from 0 (the likeliest token) to 1 (all).
    /// Default 1.
    /// </summary>
    public double TopP { get; init; } = 1;

    /// <summary>
    /// Excludes tokens that are less likely than this share of the likeliest token (arXiv 2407.01082), from 0 to below 1. Default 0.
    /// </summary>
    public double MinP { get; init; }

    /// <summary>
    /// Divides the positive logits and multiplies the negative logits of tokens that are already in the prompt or the answer (arXiv
    /// 1909.05858). Above 1 for less repetition. Default 1.
    /// </summary>
    public double RepetitionPenalty { get; init; } = 1;

    /// <summary>
    /// Subtracted from the logit of a token for each time that the answer contains it. The prompt does not count. Default 0.
    /// </summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>Subtracted once from the logit of every token that the answer contains. The prompt does not count. Default 0.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Added to the logits of these token ids. Default none.</summary>
    public IReadOnlyDictionary<int, double> LogitBias { get; init; } = s_noBias;

    /// <summary>
    /// Seed of the sampling: the same seed gives the same answer. Null draws a fresh seed for each generation;
    /// <see cref="GenerationResult.Seed"/> reports it. Default null.
    /// </summary>
    public long? Seed { get; init; }

    /// <summary>
    /// Texts that end the generation where they appear; they are not part of the answer. They may contain special tokens such as
    /// <c>&lt;|im_end|&gt;</c>. Default none.
    /// </summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>Token ids that end the generation, like the model's own end of text. Default none.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>Tokens that are generated before anything may end the answer. Default 0.</summary>
    public int MinTokens { get; init; }

    /// <summary>
    /// Whether generation continues after the model's own ends of texts and answers. <see cref="Stop"/> and <see cref="StopTokens"/> still
    /// end it. Default false.
    /// </summary>
    public bool IgnoreEos { get; init; }

    /// <summary>
    /// Number of likeliest tokens whose log-probabilities are reported with that of each chosen token; 0 for the chosen one only, null for
    /// none. They are the model's own, before penalties and temperature. Default null.
    /// </summary>
    public int? TopLogProbabilities { get; init; }

    /// <summary>
    /// Whether the tokens of the prompt are measured too. The whole prompt is then read, whatever the cache holds. Default false.
    /// </summary>
    internal bool MeasuresPrompt { get; init; }

    /// <summary>The format that the answer is bound to; null for free text. Default null.</summary>
    public AnswerFormat? Format { get; init; }

    /// <summary>Prompt tokens that are read at once. More is faster and takes more memory. Default 1024.</summary>
    public int PrefillChunk { get; init; } = 1024;

    /// <summary>
    /// Most tokens that are guessed at each step from what followed the same words earlier in prompt and answer, and checked in one pass.
    /// The answer is the one without guesses, greedy or drawn with the same seed, up to the rounding of logits that are computed
    /// together. It comes faster where it repeats the prompt, as in questions about a document. 0 for none. Default 0.
    /// </summary>
    public int LookupTokens { get; init; }

    /// <summary>
    /// Receives how much of the prompt is known before each chunk of it is read, on the generating thread. Default null.
    /// </summary>
    public IProgress<PromptProgress>? PromptProgress { get; init; }

    /// <summary>Checks all options.</summary>
    /// <exception cref="ConfigurationException">Lists every problem at once.</exception>
    public void Validate() => OptionProblems.ThrowIfAny(Check);

    private void Check(OptionProblems problems)
    {
        problems.Require(MaxTokens >= 1, $"max-tokens is {MaxTokens}; it must be at least 1");
        problems.Require(Temperature >= 0 && double.IsFinite(Temperature), $"temperature is {Temperature}; it must be 0 (greedy) or more");
        problems.Require(TopK >= 0, $"top-k is {TopK}; it must be 0 (all tokens) or more");
        problems.Require(TopP is >= 0 and <= 1, $"top-p is {TopP}; it must be from 0 to 1");
        problems.Require(MinP is >= 0 and < 1, $"min-p is {MinP}; it must be at least 0 and below 1");
        problems.Require(RepetitionPenalty > 0, $"repetition-penalty is {RepetitionPenalty}; it must be above 0");
        problems.Require(double.IsFinite(FrequencyPenalty), $"frequency-penalty is {FrequencyPenalty}; it must be a finite number");
        problems.Require(double.IsFinite(PresencePenalty), $"presence-penalty is {PresencePenalty}; it must be a finite number");
        problems.Require(LogitBias.Values.All(double.IsFinite), "a logit bias is not a finite number");
        problems.Require(
            MinTokens >= 0 && MinTokens <= MaxTokens,
            $"min-tokens is {MinTokens}; it must be from 0 to max-tokens ({MaxTokens})"
        );
        problems.Require(
            TopLogProbabilities is null or >= 0,
            $"top-logprobs is {TopLogProbabilities}; it must be 0 (the chosen token alone) or more"
        );
        problems.Require(Stop.All(s => s.Length > 0), "a stop text is empty");
        problems.Require(LookupTokens is >= 0 and <= 64, $"lookup-tokens is {LookupTokens}; it must be from 0 (no guesses) to 64");
        problems.Require(PrefillChunk >= 1, $"prefill-chunk is {PrefillChunk}; it must be at least 1");
    }
}
