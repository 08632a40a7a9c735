using System.CommandLine;
using LongLora.Data;
using LongLora.Distributed;
using LongLora.Documents;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary>The text for perplexity, and how much of it to use.</summary>
internal sealed class TextArguments
{
    internal Option<string[]> Data { get; } =
        new("--data")
        {
            Description = "files and folders: .txt, .md, .jsonl with 'text', .pdf, .docx, .html, token .bin",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };

    internal Option<long?> MaxTokens { get; } =
        new("--max-tokens") { Description = "use only this many tokens from the start of the data", HelpName = "T" };

    internal Option<int?> TokenBytes { get; } =
        new("--token-bytes")
        {
            Description = "bytes per token in .bin data, 2 or 4 [default: 2 if the vocabulary fits, else 4]",
            HelpName = "2|4",
        };

    /// <summary>The tokens of the text, with documents kept apart.</summary>
    internal TokenStore Read(ParseResult parsed, LoadedModel model, CancellationToken cancellation) =>
        TokenStore.Read(
            parsed.GetValue(Data)!,
            model,
            DocumentFormats.Isolated,
            parsed.GetValue(MaxTokens) is var most && most < 1
                ? throw new ConfigurationException($"--max-tokens is {most}; it must be at least 1.")
                : most,
            parsed.GetValue(TokenBytes) is var bytes && bytes is null or 2 or 4
                ? bytes
                : throw new ConfigurationException($"--token-bytes is {bytes}; it must be 2 or 4."),
            cancellation
        );

    /// <summary>The same on each rank of a job.</summary>
    internal TokenStore Read(ParseResult parsed, LoadedModel model, ICommunicator ranks, CancellationToken cancellation)
    {
        TokenStore? tokens = null;
        ranks.OnAll("reading the text", () => tokens = Read(parsed, model, cancellation));
        return tokens!;
    }
}
