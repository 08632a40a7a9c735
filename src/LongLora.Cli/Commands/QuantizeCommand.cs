using System.CommandLine;
using LongLora.Cli.Arguments;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Quantization;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora quantize</c>: quantizes a model to 4 or 8 bits, in bitsandbytes' layout.</summary>
internal static class QuantizeCommand
{
    internal static Command Create(CliContext context)
    {
        var model = new ModelOption();
        var kind = new QuantizationOption(QuantizationKind.Nf4, "--type");
        var output = OutputOption.CreateForNewFolder();
        var json = new JsonOption("what was quantized");
        var command = new Verb(
            "quantize",
            "Quantize a model to 4 or 8 bits, in bitsandbytes' layout.",
            "longlora quantize --model Llama-2-7b --output Llama-2-7b-nf4"
        )
        {
            model,
            kind,
            output,
            json,
        };
        command.SetAction(parsed =>
        {
            var target = output.ReadNewFolder(parsed);
            using var quantized = LoadedModel.Open(
                parsed.GetValue(model)!,
                new LoadOptions { Quantization = parsed.GetValue(kind), Device = "cpu" }
            );
            QuantizedCheckpoint.Write(target, quantized.Network, quantized.Files);
            var matrices = quantized.Network.Linears.Select(l => l.Projection).OfType<QuantizedProjection>().ToList();
            var (bytes, weights) = (matrices.Sum(m => m.ByteCount), matrices.Sum(m => m.OutputSize * m.InputSize));
            context.Output.WriteLine(
                $"{matrices.Count} matrices with {weights:N0} weights in {bytes:N0} bytes: {(double)bytes / weights:F3} bytes per weight."
            );
            context.Output.WriteLine($"Model: {target}");
            json.Write(
                parsed,
                context,
                "quantize",
                new
                {
                    Model = target,
                    Type = parsed.GetValue(kind)!.Value,
                    Matrices = matrices.Count,
                    Weights = weights,
                    Bytes = bytes,
                    BytesPerWeight = (double)bytes / weights,
                }
            );
            return ExitCode.Done;
        });
        return command;
    }
}
