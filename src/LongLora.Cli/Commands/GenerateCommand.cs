using System.CommandLine;
using System.Text;
using LongLora.Cli.Arguments;
using LongLora.Documents;
using LongLora.Generation;
using LongLora.Runtime;
using LongLora.Tokenization;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora generate</c>: continues a prompt, which may follow a document.</summary>
internal static class GenerateCommand
{
    internal static Command Create(CliContext context)
    {
        var standard = new GenerationOptions();
        var source = new ModelArguments();
        var prompt = new Option<string>("--prompt")
        {
            Description = "text to continue; \\n is a line break, and a special token such as <|im_start|> is a token",
            HelpName = "TEXT",
        };
        var promptFile = new Option<string>("--prompt-file") { Description = "file with the prompt", HelpName = "FILE" };
        var material = new Option<string[]>("--material")
        {
            Description = "documents to put before the prompt: .txt, .md, .pdf, .docx, .html",
            HelpName = "FILE",
            AllowMultipleArgumentsPerToken = true,
        };
        var sampling = new SamplingArguments(standard);
        var cache = new CacheArguments();
        var json = new JsonOption("the answer and its figures");
        var command = new Verb(
            "generate",
            "Generate text from a prompt, with full attention or endlessly (--streaming).",
            "longlora generate --model merged --material book.pdf \\",
            "                  --prompt \"\\nThe book is about\" --max-tokens 100"
        )
        {
            prompt,
            promptFile,
            material,
            json,
        };
        source.AddTo(command);
        sampling.AddTo(command);
        cache.AddTo(command);
        command.SetAction(parsed =>
        {
            var options = sampling.Read(parsed);
            options.Validate();
            var text = Prompt(parsed.GetValue(prompt), parsed.GetValue(promptFile));
            var before = string.Concat((parsed.GetValue(material) ?? []).Select(file => DocumentText.Read(file)));
            using var model = cache.Open(context, parsed, source.Read(parsed) with { Template = null });
            var tokens = PromptText.Encode(model.Tokenizer, text, material: before);
            TimeSpan? first = null;
            var answer = new StringBuilder();
            foreach (var piece in model.CompleteTokensAsync(tokens, options).ToBlockingEnumerable(context.Cancellation))
            {
                first ??= piece.Time;
                context.Output.Write(piece.Text);
                answer.Append(piece.Text);
                context.Output.Flush();
                if (piece.Result is not { } result)
                    continue;
                context.Output.WriteLine();
                Report(context, options, result, first.Value, piece.Time);
                json.Write(
                    parsed,
                    context,
                    "generate",
                    new
                    {
                        Text = answer.ToString(),
                        result.Finish,
                        result.PromptTokens,
                        Tokens = result.Tokens.Count,
                        result.GuessedTokens,
                        result.AcceptedTokens,
                        result.Seed,
                        PromptSeconds = first.Value.TotalSeconds,
                        Seconds = piece.Time.TotalSeconds,
                    }
                );
            }
            return ExitCode.Done;
        });
        return command;
    }

    // On standard error, so a pipe gets only the answer.
    private static void Report(CliContext context, GenerationOptions options, GenerationResult result, TimeSpan first, TimeSpan all)
    {
        var rest = (all - first).TotalSeconds;
        var rate = result.Tokens.Count > 1 && rest > 0 ? $", then {(result.Tokens.Count - 1) / rest:N0} tokens/s" : "";
        context.Error.WriteLine(
            $"{result.PromptTokens:N0} tokens read in {first.TotalSeconds:N2} s{rate}; {result.Tokens.Count:N0} generated, "
                + $"{(result.Finish == FinishReason.Stop ? "stopped at an end token or stop text" : "stopped at the length limit")}"
                + SamplingArguments.DescribeGuesses(result)
                + SamplingArguments.DescribeSeed(options, result)
        );
    }

    private static string Prompt(string? text, string? file) =>
        (text, file) switch
        {
            ({ } given, null) => given.Replace("\\n", "\n", StringComparison.Ordinal),
            (null, { } path) => File.Exists(path)
                ? Utf8TextReader.ReadFile(path)
                : throw new DataException($"There is no prompt file '{path}'."),
            _ => throw new ConfigurationException("Give the prompt with either --prompt or --prompt-file."),
        };
}
