using System.CommandLine;
using LongLora.Adapters;
using LongLora.Checkpoints;
using LongLora.Cli.Arguments;
using LongLora.Export;
using LongLora.Models;
using LongLora.Positions;
using LongLora.Quantization;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora merge</c>: adapter and base become a plain model folder.</summary>
internal static class MergeCommand
{
    internal static Command Create(CliContext context)
    {
        var model = new ModelOption("folder of the base model");
        var adapter = new AdapterOption("folder of the PEFT or LongLoRA adapter", isRequired: true);
        var output = OutputOption.CreateForNewFolder();
        var kind = new QuantizationOption(QuantizationKind.None);
        var command = new Verb(
            "merge",
            "Merge an adapter into its base: a plain model folder that every engine loads.",
            "longlora merge --model Llama-2-7b --adapter run32k/adapter --output merged"
        )
        {
            model,
            adapter,
            output,
            kind,
        };
        var reading = new AdapterArguments();
        reading.AddTo(command);
        command.SetAction(parsed =>
        {
            var target = output.ReadNewFolder(parsed);
            PeftFormat.RequireSupported(parsed.GetValue(adapter)!); // before a weight is read
            var folder = CheckpointDirectory.Open(parsed.GetValue(model)!);
            using var merged = ModelLoader.Load(folder.Config, folder, null, parsed.GetValue(kind));
            using var set = PeftFormat.Attach(parsed.GetValue(adapter)!, merged, reading.Read(parsed));
            HuggingFaceExporter.Write(target, merged, folder, new ExportOptions { TokenizerFolder = parsed.GetValue(adapter) });
            AdapterArguments.Tell(set, context.Output);
            context.Output.WriteLine(
                $"{set.Adapters.Count} LoRA pairs and {set.ModelWeights.Count} trained weights merged; context "
                    + $"{RopeScaling.GetCurrentContext(merged.Config):N0} tokens."
            );
            context.Output.WriteLine($"Model: {target}");
            return ExitCode.Done;
        });
        return command;
    }
}
