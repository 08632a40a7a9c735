using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Data;
using LongLora.Tokenization;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora tokenizer</c>: trains a tokenizer for a model that is trained from scratch.</summary>
internal static class TokenizerCommand
{
    internal static Command Create(CliContext context) =>
        new Verb("tokenizer", "Train a tokenizer.", "longlora tokenizer train --data books --output tokenizer") { CreateTrain(context) };

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
        var output = new OutputOption("folder for tokenizer.json and tokenizer_config.json");
        var command = new Verb(
            "train",
            "Train a byte-level BPE tokenizer on text.",
            "longlora tokenizer train --data books --output tokenizer"
        )
        {
            data,
            size,
            output,
        };
        command.SetAction(parsed =>
        {
            var merges = ByteLevelTokenizerWriter.CountMerges(parsed.GetValue(size));
            var words = BpeTrainer.CountWords(PlainTexts.Read(parsed.GetValue(data)!, context.Cancellation));
            ByteLevelTokenizerWriter.Write(parsed.GetValue(output)!, BpeTrainer.Train(words, merges, context.Cancellation));
            context.Output.WriteLine(
                $"{parsed.GetValue(size)} tokens learned from {words.Values.Sum():N0} words, {words.Count:N0} of them distinct."
            );
            context.Output.WriteLine($"Tokenizer: {parsed.GetValue(output)}");
            return ExitCode.Done;
        });
        return command;
    }
}
