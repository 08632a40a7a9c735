using System.CommandLine;
using LongLora.Checkpoints;
using LongLora.Cli.Arguments;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Positions;
using static TorchSharp.torch;

namespace LongLora.Cli.Commands;

/// <summary>
/// <c>longlora import</c>: converts models of other programs to Hugging Face folders. One subcommand per format.
/// </summary>
internal static class ImportCommand
{
    internal static Command Create(CliContext context) =>
        new Verb("import", "Convert a model of another program to a Hugging Face folder.") { CreateGguf(context) };

    private static Verb CreateGguf(CliContext context)
    {
        var file = new Argument<string>("FILE") { Description = ".gguf file, or any part of a split one" };
        var output = OutputOption.CreateForNewFolder();
        var type = new Option<string?>("--type")
        {
            Description =
                "fp32, bf16 or fp16 [default: lossless, that is, fp16 and bf16 stay as they are and everything else becomes fp32]",
            HelpName = "TYPE",
        };
        type.AcceptOnlyFromAmong("fp32", "bf16", "fp16");
        var json = new JsonOption("what was read and written");
        var command = new Verb(
            "gguf",
            "Convert a GGUF file to a Hugging Face folder: config, weights, tokenizer, chat template.",
            "longlora import gguf SmolLM2.Q4_K_M.gguf --output smollm2 --type bf16"
        )
        {
            file,
            output,
            type,
            json,
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
            json.Write(
                parsed,
                context,
                "import-gguf",
                new
                {
                    Model = target,
                    model.Name,
                    model.Architecture,
                    model.License,
                    StoredTypes = model.StoredTensors.CountBy(t => t.Type).OrderBy(t => t.Key).ToDictionary(t => $"{t.Key}", t => t.Value),
                    model.StoredBytes,
                    Tensors = written.Tensors.Count,
                    Bytes = written.DataBytes,
                    Context = RopeScaling.GetCurrentContext(written.Config),
                    VocabularySize = model.Tokenizer?.VocabularySize,
                    HasChatTemplate = model.ChatTemplate is not null,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }
}
