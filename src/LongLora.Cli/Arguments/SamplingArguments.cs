using System.CommandLine;
using System.Globalization;
using LongLora.Generation;

namespace LongLora.Cli.Arguments;

/// <summary>Options of every command that generates text.</summary>
internal sealed class SamplingArguments
{
    private readonly Option<int> _maxTokens,
        _lookupTokens,
        _minTokens,
        _topK;
    private readonly Option<double> _temperature,
        _topP,
        _minP,
        _repetition,
        _frequency,
        _presence;
    private readonly Option<long?> _seed = new(SeedOption.Flag)
    {
        Description = "seed of the sampling, which gives the same answer again [default: a fresh one, which is reported]",
        HelpName = "N",
    };
    private readonly Option<bool> _ignoreEos = new("--ignore-eos") { Description = "continue after the model's own ends" };
    private readonly Option<string[]> _stop = new("--stop")
    {
        Description = "text or special token that ends the answer; \\n is a line break",
        HelpName = "TEXT",
        AllowMultipleArgumentsPerToken = true,
    };

    internal SamplingArguments(GenerationOptions standard)
    {
        _maxTokens = CreateWhole("--max-tokens", "maximum tokens to generate", standard.MaxTokens);
        _minTokens = CreateWhole("--min-tokens", "minimum tokens to generate", standard.MinTokens);
        _lookupTokens = CreateWhole(
            "--lookup-tokens",
            "most tokens to guess per step from the text so far, for answers that repeat a document; 0 for none",
            standard.LookupTokens
        );
        _temperature = CreateReal("--temperature", "randomness; 0 always takes the most likely token", standard.Temperature);
        _topK = CreateWhole("--top-k", "sample from the K most likely tokens; 0 for all", standard.TopK);
        _topP = CreateReal("--top-p", "sample from the smallest set of tokens with this total probability", standard.TopP);
        _minP = CreateReal("--min-p", "drop tokens less likely than this fraction of the most likely one", standard.MinP);
        _repetition = CreateReal("--repetition-penalty", "above 1 for less repetition", standard.RepetitionPenalty);
        _frequency = CreateReal("--frequency-penalty", "above 0 for less repetition within the answer", standard.FrequencyPenalty);
        _presence = CreateReal("--presence-penalty", "above 0 for more different tokens in the answer", standard.PresencePenalty);
    }

    internal void AddTo(Command command)
    {
        Option[] all =
        [
            _maxTokens,
            _minTokens,
            _temperature,
            _topK,
            _topP,
            _minP,
            _repetition,
            _frequency,
            _presence,
            _lookupTokens,
            _seed,
            _stop,
            _ignoreEos,
        ];
        foreach (var option in all)
            command.Options.Add(option);
    }

    internal GenerationOptions Read(ParseResult parsed) =>
        new()
        {
            MaxTokens = parsed.GetValue(_maxTokens),
            MinTokens = parsed.GetValue(_minTokens),
            LookupTokens = parsed.GetValue(_lookupTokens),
            Temperature = parsed.GetValue(_temperature),
            TopK = parsed.GetValue(_topK),
            TopP = parsed.GetValue(_topP),
            MinP = parsed.GetValue(_minP),
            RepetitionPenalty = parsed.GetValue(_repetition),
            FrequencyPenalty = parsed.GetValue(_frequency),
            PresencePenalty = parsed.GetValue(_presence),
            Seed = parsed.GetValue(_seed),
            IgnoreEos = parsed.GetValue(_ignoreEos),
            Stop = [.. (parsed.GetValue(_stop) ?? []).Select(s => s.Replace("\\n", "\n", StringComparison.Ordinal))],
        };

    /// <summary><c>; seed N</c> for an answer that was drawn, so that it can be repeated; empty for a greedy one.</summary>
    internal static string DescribeSeed(GenerationOptions options, GenerationResult result) =>
        options.Temperature > 0 ? string.Create(CultureInfo.InvariantCulture, $"; seed {result.Seed}") : "";

    /// <summary><c>; N of M guessed tokens accepted</c> where tokens were guessed, else empty.</summary>
    internal static string DescribeGuesses(GenerationResult result) =>
        result.GuessedTokens == 0 ? "" : $"; {result.AcceptedTokens:N0} of {result.GuessedTokens:N0} guessed tokens accepted";

    private static Option<int> CreateWhole(string name, string help, int standard) =>
        new(name)
        {
            Description = help,
            HelpName = "N",
            DefaultValueFactory = _ => standard,
        };

    private static Option<double> CreateReal(string name, string help, double standard) =>
        new(name)
        {
            Description = help,
            HelpName = "X",
            DefaultValueFactory = _ => standard,
        };
}
