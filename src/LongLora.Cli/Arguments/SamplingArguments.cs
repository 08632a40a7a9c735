using System.CommandLine;
using LongLora.Generation;

namespace LongLora.Cli.Arguments;

/// <summary>Options of every command that generates text.</summary>
internal sealed class SamplingArguments
{
    private readonly Option<int> _maxTokens,
        _topK;
    private readonly SeedOption _seed;
    private readonly Option<double> _temperature,
        _topP,
        _minP,
        _penalty;
    private readonly Option<string[]> _stop = new("--stop")
    {
        Description = "text that ends the answer",
        HelpName = "TEXT",
        AllowMultipleArgumentsPerToken = true,
    };

    internal SamplingArguments(GenerationOptions standard)
    {
        _maxTokens = CreateWhole("--max-tokens", "maximum tokens to generate", standard.MaxTokens);
        _temperature = CreateReal("--temperature", "randomness; 0 always takes the most likely token", standard.Temperature);
        _topK = CreateWhole("--top-k", "sample from the K most likely tokens; 0 for all", standard.TopK);
        _topP = CreateReal("--top-p", "sample from the smallest set of tokens with this total probability", standard.TopP);
        _minP = CreateReal("--min-p", "drop tokens less likely than this fraction of the most likely one", standard.MinP);
        _penalty = CreateReal("--repetition-penalty", "above 1 for less repetition", standard.RepetitionPenalty);
        _seed = new SeedOption("seed for sampling", "N", standard.Seed);
    }

    internal void AddTo(Command command)
    {
        foreach (var option in new Option[] { _maxTokens, _temperature, _topK, _topP, _minP, _penalty, _seed, _stop })
            command.Options.Add(option);
    }

    internal GenerationOptions Read(ParseResult parsed) =>
        new()
        {
            MaxTokens = parsed.GetValue(_maxTokens),
            Temperature = parsed.GetValue(_temperature),
            TopK = parsed.GetValue(_topK),
            TopP = parsed.GetValue(_topP),
            MinP = parsed.GetValue(_minP),
            RepetitionPenalty = parsed.GetValue(_penalty),
            Seed = parsed.GetValue(_seed),
            Stop = [.. (parsed.GetValue(_stop) ?? []).Select(s => s.Replace("\\n", "\n", StringComparison.Ordinal))],
        };

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
