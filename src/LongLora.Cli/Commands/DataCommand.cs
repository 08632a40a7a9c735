using System.CommandLine;
using System.Security.Cryptography;
using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Loading;
using LongLora.Runtime;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora data</c>: text and tokens for training a small model.</summary>
internal static class DataCommand
{
    private static readonly JsonSerializerOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly JsonSerializerOptions s_questions = new(s_json)
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        WriteIndented = true,
    };

    internal static Command Create(CliContext context) =>
        new Verb("data", "Make training data.", "longlora data practice --output practice.jsonl")
        {
            CreateSdkDocumentation(context),
            CreatePractice(context),
            CreateWindows(context),
            CreateQuestions(context),
        };

    private static Verb CreateSdkDocumentation(CliContext context)
    {
        var output = new OutputOption(".jsonl file to write, with one document per line", helpName: "FILE");
        var every = new CountOption("--every")
        {
            Description = "take only every N-th document [default: 1]",
            HelpName = "N",
            DefaultValueFactory = _ => 1,
        };
        var offset = new CountOption("--offset", least: 0)
        {
            Description = "index of the first document to take [default: 0]",
            HelpName = "N",
            DefaultValueFactory = _ => 0,
        };
        var json = new JsonOption("the counts");
        var command = new Verb(
            "sdk-docs",
            "Write the .NET SDK's reference documentation as plain text.",
            "longlora data sdk-docs --output sdk.jsonl"
        )
        {
            output,
            every,
            offset,
            json,
        };
        command.SetAction(parsed =>
        {
            var files = XmlDocumentation.FindSdkFiles();
            if (files.Count == 0)
                throw new DataException("Cannot find the documentation of .NET. It is in packs/Microsoft.NETCore.App.Ref of an SDK.");
            var texts = files
                .SelectMany(XmlDocumentation.Read)
                .Select(d => d.Text)
                .Where((_, i) => i >= parsed.GetValue(offset) && (i - parsed.GetValue(offset)) % parsed.GetValue(every) == 0);
            return WriteLines(context, parsed, json, parsed.GetValue(output)!, texts);
        });
        return command;
    }

    private static Verb CreatePractice(CliContext context)
    {
        var output = new OutputOption(".jsonl file to write, with one document per line", helpName: "FILE");
        var count = new CountOption("--documents")
        {
            Description = "number of documents to write [default: 1000]",
            HelpName = "N",
            DefaultValueFactory = _ => 1000,
        };
        var characters = new CountOption("--characters")
        {
            Description = "approximate maximum characters per document [default: 1500]",
            HelpName = "N",
            DefaultValueFactory = _ => 1500,
        };
        var seed = new SeedOption("seed", "N", standard: 1);
        var json = new JsonOption("the counts");
        var command = new Verb(
            "practice",
            "Generate documents for practicing retrieval: each one asks for something stated earlier in it.",
            "longlora data practice --output practice.jsonl"
        )
        {
            output,
            count,
            characters,
            seed,
            json,
        };
        command.SetAction(parsed =>
        {
            var random = new SplitMix64((ulong)parsed.GetValue(seed));
            var practice = new RetrievalPractice(random);
            // The kinds that the bundled tokenizer was trained on; another kind would change it.
            PracticeKind[] kinds =
            [
                PracticeKind.Repetition,
                PracticeKind.Facts,
                PracticeKind.PassKey,
                PracticeKind.Lines,
                PracticeKind.Topics,
            ];
            return WriteLines(
                context,
                parsed,
                json,
                parsed.GetValue(output)!,
                Enumerable
                    .Range(0, parsed.GetValue(count))
                    .Select(_ => practice.Write(random.Pick(kinds), random.Between(80, Math.Max(80, parsed.GetValue(characters)))))
            );
        });
        return command;
    }

    private static Verb CreateWindows(CliContext context)
    {
        var output = new OutputOption(".bin file of tokens to write", helpName: "FILE");
        var tokenizer = new Option<string>("--tokenizer")
        {
            Description = "tokenizer folder",
            HelpName = "DIR",
            Required = true,
        };
        var data = new Option<string[]>("--data")
        {
            Description = "files and folders with plain text",
            HelpName = "PATH",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [],
        };
        var window = new CountOption("--context")
        {
            Description = "tokens per window",
            HelpName = "N",
            Required = true,
        };
        var count = new CountOption("--windows")
        {
            Description = "number of windows to write",
            HelpName = "N",
            Required = true,
        };
        var share = new Option<double>("--generated")
        {
            Description = "fraction of generated documents, 0 to 1 [default: 0.5]",
            HelpName = "X",
            DefaultValueFactory = _ => 0.5,
        };
        var weights = new Option<double[]>("--weights")
        {
            Description =
                "relative frequency of: repetition, facts, pass key, lines, topics, conversations; 0 for none [default: 1 1 1 1 1 0]",
            HelpName = "X",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [1, 1, 1, 1, 1, 0],
        };
        var seed = new SeedOption("seed", "N", standard: 1);
        var json = new JsonOption("the counts");
        var command = new Verb(
            "windows",
            "Fill training windows with generated documents and plain text.",
            "longlora data windows --tokenizer t --data books --context 256 \\",
            "                      --windows 999 --output t.bin"
        )
        {
            tokenizer,
            data,
            window,
            count,
            share,
            weights,
            output,
            seed,
            json,
        };
        command.SetAction(parsed =>
        {
            var options = new PracticeOptions
            {
                Context = parsed.GetValue(window),
                Windows = parsed.GetValue(count),
                Generated = parsed.GetValue(share),
                Weights = parsed.GetValue(weights)!,
                Seed = parsed.GetValue(seed),
            };
            options.Validate(hasText: parsed.GetValue(data)!.Length > 0);
            var loaded = ModelSource.OpenTokenizer(parsed.GetValue(tokenizer)!);
            var texts = PlainTexts.Read(parsed.GetValue(data)!, context.Cancellation).Select(t => loaded.Encode(t)).ToList();
            var windows = new PracticeWindows(loaded, texts, options).Make();
            var width = PracticeWindows.GetWidth(loaded);
            using var hash = SHA256.Create();
            AtomicFile.Write(parsed.GetValue(output)!, stream =>
            {
                using var copy = new CryptoStream(stream, hash, CryptoStreamMode.Write, leaveOpen: true);
                foreach (var window in windows)
                {
                    context.Cancellation.ThrowIfCancellationRequested();
                    PracticeWindows.Write(copy, window, width);
                }
            });
            context.Output.WriteLine(
                $"{MessageText.Count(options.Windows, "window")} of {options.Context:N0} tokens; SHA-256 "
                    + Convert.ToHexStringLower(hash.Hash!)
            );
            context.Output.WriteLine($"Tokens: {parsed.GetValue(output)}{(width == 2 ? "" : $" (train with --token-bytes {width})")}");
            json.Write(
                parsed,
                context,
                "data-windows",
                new
                {
                    Tokens = parsed.GetValue(output),
                    TokenBytes = width,
                    options.Windows,
                    options.Context,
                    Sha256 = Convert.ToHexStringLower(hash.Hash!),
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static Verb CreateQuestions(CliContext context)
    {
        var output = new OutputOption(".json file to write, in LongAlpaca's layout for sft", helpName: "FILE");
        var data = new Option<string[]>("--data")
        {
            Description = "files and folders with plain text",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var count = new CountOption("--examples")
        {
            Description = "number of questions to write [default: 1000]",
            HelpName = "N",
            DefaultValueFactory = _ => 1000,
        };
        var shortest = new CountOption("--shortest")
        {
            Description = "approximate minimum characters per document; lengths are log-uniform [default: 200]",
            HelpName = "N",
            DefaultValueFactory = _ => 200,
        };
        var longest = new CountOption("--longest")
        {
            Description = "approximate maximum characters per document [default: 5000]",
            HelpName = "N",
            DefaultValueFactory = _ => 5000,
        };
        var asked = new CountOption("--most-asked")
        {
            Description = "maximum number of facts per question [default: 4]",
            HelpName = "N",
            DefaultValueFactory = _ => 4,
        };
        var seed = new SeedOption("seed", "N", standard: 1);
        var json = new JsonOption("the counts");
        var command = new Verb(
            "questions",
            "Write questions about long documents, with answers that are known to be correct.",
            "longlora data questions --data books --output questions.json"
        )
        {
            data,
            output,
            count,
            shortest,
            longest,
            asked,
            seed,
            json,
        };
        command.SetAction(parsed =>
        {
            var (from, to) = (parsed.GetValue(shortest), parsed.GetValue(longest));
            if (to < from)
                throw new ConfigurationException($"longest is {to}, but it must be at least shortest, {from}.");
            List<string> texts =
            [
                .. PlainTexts.Read(parsed.GetValue(data)!, context.Cancellation).Where(t => !string.IsNullOrWhiteSpace(t)),
            ];
            if (texts.Count == 0)
                throw new DataException("The data contains no text: every file is empty.");
            var random = new SplitMix64((ulong)parsed.GetValue(seed));
            var questions = new DocumentQuestions(random, texts, parsed.GetValue(asked));
            AtomicFile.Write(parsed.GetValue(output)!, stream => JsonSerializer.Serialize(
                    stream,
                    Enumerable
                        .Range(0, parsed.GetValue(count))
                        .Select(_ =>
                        {
                            context.Cancellation.ThrowIfCancellationRequested();
                            return questions.Write((int)(from * Math.Pow((double)to / from, random.Share())));
                        }),
                    s_questions
                ));
            context.Output.WriteLine(
                $"{MessageText.Count(parsed.GetValue(count), "question")} about {MessageText.Count(texts.Count, "document")}."
            );
            context.Output.WriteLine($"Questions: {parsed.GetValue(output)}");
            json.Write(
                parsed,
                context,
                "data-questions",
                new
                {
                    Questions = parsed.GetValue(output),
                    Examples = parsed.GetValue(count),
                    Documents = texts.Count,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }

    private static int WriteLines(CliContext context, ParseResult parsed, JsonOption json, string path, IEnumerable<string> texts)
    {
        long documents = 0,
            characters = 0;
        AtomicFile.Write(path, stream =>
        {
            foreach (var text in texts)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                JsonSerializer.Serialize(stream, new { text }, s_json);
                stream.WriteByte((byte)'\n');
                (documents, characters) = (documents + 1, characters + text.Length);
            }
        });
        context.Output.WriteLine($"{MessageText.Count(documents, "document")}, {characters:N0} characters.");
        context.Output.WriteLine($"Text: {path}");
        json.Write(
            parsed,
            context,
            "data",
            new
            {
                Text = path,
                Documents = documents,
                Characters = characters,
            }
        );
        return ExitCode.Done;
    }
}
