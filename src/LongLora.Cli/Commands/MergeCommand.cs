using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Positions;
using LongLora.Quantization;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora merge</c>: merges an adapter into its base.</summary>
internal static class MergeCommand
{
    internal static Command Create(CliContext context)
    {
        var model = new ModelOption("base model: a folder, a .gguf file, org/name in the Hugging Face cache, or ollama:NAME");
        var adapter = new AdapterOption("folder of the PEFT or LongLoRA adapter", isRequired: true);
        var output = OutputOption.CreateForNewFolder();
        var kind = new QuantizationOption(QuantizationKind.None);
        var json = new JsonOption("what was merged");
        var command = new Verb(
            "merge",
            "Merge an adapter into its base model. Any engine can load the result.",
            "longlora merge --model Llama-2-7b --adapter run32k/adapter --output merged"
        )
        {
            model,
            adapter,
            output,
            kind,
            json,
        };
        var reading = new AdapterArguments();
        reading.AddTo(command);
        command.SetAction(parsed =>
        {
            var target = output.ReadNewFolder(parsed);
            using var merged = LoadedModel.Open(
                parsed.GetValue(model)!,
                new LoadOptions
                {
                    Adapter = parsed.GetValue(adapter),
                    AdapterReading = reading.Read(parsed),
                    Quantization = parsed.GetValue(kind)!.Value,
                    Device = "cpu",
                }
            );
            HuggingFaceExporter.Write(
                target,
                merged.Network,
                merged.Files,
                new ExportOptions { TokenizerFolder = parsed.GetValue(adapter) }
            );
            AdapterArguments.Tell(merged.Adapter, context);
            context.Output.WriteLine(
                $"{merged.Adapter!.Adapters.Count} LoRA pairs and {merged.Adapter.ModelWeights.Count} trained weights merged; context "
                    + $"{RopeScaling.GetCurrentContext(merged.Config):N0} tokens."
            );
            context.Output.WriteLine($"Model: {target}");
            json.Write(
                parsed,
                context,
                "merge",
                new
                {
                    Model = target,
                    LoraPairs = merged.Adapter.Adapters.Count,
                    TrainedWeights = merged.Adapter.ModelWeights.Count,
                    Context = RopeScaling.GetCurrentContext(merged.Config),
                    merged.Adapter.Missing,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }
}
