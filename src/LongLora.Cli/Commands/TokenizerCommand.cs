using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Loading;
using LongLora.Tokenization;

namespace LongLora.Cli.Commands;

/// <summary>
/// <c>longlora tokenizer</c>: shows the tokens of a text, and trains a tokenizer for a model that is trained from scratch.
/// </summary>
internal static class TokenizerCommand
{
    private static readonly JsonSerializerOptions s_readable = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    internal static Command Create(CliContext context) =>
        new Verb(
            "tokenizer",
            "Show the tokens of a text, or train a tokenizer.",
            "longlora tokenizer encode --model Qwen3-8B \"Call me Ishmael.\""
        )
        {
            CreateEncode(context),
            CreateTrain(context),
        };

    private static Verb CreateEncode(CliContext context)
    {
        var model = new ModelOption("a model, or a folder with nothing but a tokenizer");
        var text = new Argument<string?>("TEXT") { Description = "the text [default: standard input]", Arity = ArgumentArity.ZeroOrOne };
        var plain = new Option<bool>("--plain")
        {
            Description = "do not add tokens such as BOS, and read the names of special tokens as ordinary text",
        };
        var json = new JsonOption("the ids");
        var command = new Verb(
            "encode",
            "Show the tokens of a text: id and text of each, one per line.",
            "longlora tokenizer encode --model Qwen3-8B \"Call me Ishmael.\""
        )
        {
            model,
            text,
            plain,
            json,
        };
        command.SetAction(parsed =>
        {
            var tokenizer = ModelSource.OpenTokenizer(parsed.GetValue(model)!);
            var isPlain = parsed.GetValue(plain);
            var ids = tokenizer.Encode(parsed.GetValue(text) ?? context.Input.ReadToEnd(), addSpecial: !isPlain, parseSpecial: !isPlain);
            foreach (var id in ids)
                context.Output.WriteLine($"{id, 7}  {JsonSerializer.Serialize(TokenText.Write(tokenizer, id), s_readable)}");
            json.Write(parsed, context, () => JsonSerializer.Serialize(new { ids }));
            return ExitCode.Done;
        });
        return command;
    }

    private static Verb CreateTrain(CliContext context)
    {
        var data = new Option<string[]>("--data")
        {
            Description = "files and folders with text",
            HelpName = "PATH",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        var size = new Option<int>("--vocabulary-size")
        {
            Description = "vocabulary size, including 256 bytes, BOS and EOS [default: 2048]",
            HelpName = "N",
            DefaultValueFactory = _ => 2048,
        };
        var output = OutputOption.CreateForNewFolder();
        var json = new JsonOption("the counts");
        var command = new Verb(
            "train",
            "Train a byte-level BPE tokenizer on text: tokenizer.json and tokenizer_config.json.",
            "longlora tokenizer train --data books --output tokenizer"
        )
        {
            data,
            size,
            output,
            json,
        };
        command.SetAction(parsed =>
        {
            var target = output.ReadNewFolder(parsed);
            var merges = ByteLevelTokenizerWriter.CountMerges(parsed.GetValue(size));
            var words = BpeTrainer.CountWords(PlainTexts.Read(parsed.GetValue(data)!, context.Cancellation));
            ByteLevelTokenizerWriter.Write(target, BpeTrainer.Train(words, merges, context.Cancellation));
            context.Output.WriteLine(
                $"{parsed.GetValue(size)} tokens learned from {words.Values.Sum():N0} words, {words.Count:N0} of them distinct."
            );
            context.Output.WriteLine($"Tokenizer: {target}");
            json.Write(
                parsed,
                context,
                "tokenizer-train",
                new
                {
                    Tokenizer = target,
                    VocabularySize = parsed.GetValue(size),
                    Words = words.Values.Sum(),
                    DistinctWords = words.Count,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }
}
