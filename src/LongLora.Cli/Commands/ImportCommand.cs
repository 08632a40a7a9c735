using System.CommandLine;
using LongLora.Checkpoints;
using LongLora.Cli.Arguments;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Positions;
using static TorchSharp.torch;

namespace LongLora.Cli.Commands;

/// <summary>
/// <c>longlora import</c>: a model in the files of another program becomes a Hugging Face folder. One subcommand a format.
/// </summary>
internal static class ImportCommand
{
    internal static Command Create(CliContext context) =>
        new Verb("import", "Make a Hugging Face folder of a model in the files of another program.") { CreateGguf(context) };

    private static Verb CreateGguf(CliContext context)
    {
        var file = new Argument<string>("FILE") { Description = "the .gguf file, or any part of a split one" };
        var output = OutputOption.CreateForNewFolder();
        var type = new Option<string?>("--type")
        {
            Description = "fp32, bf16 or fp16 [default: exactly the file's numbers: fp16 and bf16 as they are, all else in fp32]",
            HelpName = "TYPE",
        };
        type.AcceptOnlyFromAmong("fp32", "bf16", "fp16");
        var command = new Verb(
            "gguf",
            "Make a Hugging Face folder of a GGUF file: config, weights, tokenizer, chat template.",
            "longlora import gguf SmolLM2.Q4_K_M.gguf --output smollm2 --type bf16"
        )
        {
            file,
            output,
            type,
        };
        command.SetAction(parsed =>
        {
            var target = output.ReadNewFolder(parsed);
            using var model = GgufModel.Open(ModelLocation.Find(parsed.GetValue(file)!).Path);
            GgufImporter.Write(
                target,
                model,
                parsed.GetValue(type) switch
                {
                    "fp32" => ScalarType.Float32,
                    "bf16" => ScalarType.BFloat16,
                    "fp16" => ScalarType.Float16,
                    _ => null,
                }
            );
            using var written = CheckpointDirectory.Open(target, headersOnly: true);
            var types = model
                .StoredTensors.CountBy(t => t.Type)
                .OrderBy(t => t.Key)
                .Select(t => $"{t.Value} {t.Key.ToString().ToUpperInvariant()}");
            context.Output.WriteLine(
                $"{model.Name}: {model.Architecture}, {string.Join(", ", types)}, {model.StoredBytes / 1048576.0:N1} MiB"
                    + $"{(model.License is { } license ? $", license {license}" : "")}."
            );
            context.Output.WriteLine(
                $"{written.Tensors.Count} tensors, {written.DataBytes / 1048576.0:N1} MiB; context "
                    + $"{RopeScaling.GetCurrentContext(written.Config):N0} tokens; "
                    + $"{(model.Tokenizer is { } tokenizer ? $"tokenizer of {tokenizer.VocabularySize:N0} tokens" : "no tokenizer")}, "
                    + $"{(model.ChatTemplate is null ? "no chat template" : "chat template")}."
            );
            context.Output.WriteLine($"Model: {target}");
            return ExitCode.Done;
        });
        return command;
    }
}
