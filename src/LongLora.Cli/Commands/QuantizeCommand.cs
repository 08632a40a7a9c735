using System.CommandLine;
using LongLora.Export;
using LongLora.Loading;
using LongLora.Quantization;
using LongLora.Runtime;

namespace LongLora.Cli.Commands;

/// <summary><c>longlora quantize</c>: a model folder in 4 or 8 bits, in the layout of bitsandbytes.</summary>
internal static class QuantizeCommand
{
    internal static Command Create(CliContext context)
    {
        var model = new Option<string>("--model")
        {
            Description = "folder of a Hugging Face model",
            HelpName = "DIR",
            Required = true,
        };
        var kind = QuantizationOption(QuantizationKind.Nf4);
        var output = new Option<string>("--output")
        {
            Description = "folder to make, new or empty",
            HelpName = "DIR",
            Required = true,
        };
        var command = new Verb(
            "quantize",
            "Write a model in 4 or 8 bits, in the layout of bitsandbytes.",
            "longlora quantize --model Llama-2-7b --output Llama-2-7b-nf4"
        )
        {
            model,
            kind,
            output,
        };
        command.SetAction(parsed =>
        {
            var target = parsed.GetValue(output)!;
            if (Directory.Exists(target) && Directory.EnumerateFileSystemEntries(target).Any())
                throw new ConfigurationException($"The output '{target}' is not empty; choose another folder.");
            using var quantized = LoadedModel.Open(
                parsed.GetValue(model)!,
                new LoadOptions { Quantization = parsed.GetValue(kind), Device = "cpu" }
            );
            QuantizedCheckpoint.Write(target, quantized.Network, quantized.Files);
            var matrices = quantized.Network.Linears.Select(l => l.Projection).OfType<QuantizedProjection>().ToList();
            var (bytes, weights) = (matrices.Sum(m => m.ByteCount), matrices.Sum(m => m.OutputSize * m.InputSize));
            context.Output.WriteLine(
                $"{matrices.Count} matrices of {weights:N0} weights in {bytes:N0} bytes: {(double)bytes / weights:F3} a weight."
            );
            context.Output.WriteLine($"Model: {target}");
            return ExitCode.Done;
        });
        return command;
    }

    /// <summary><c>--quantization</c>, in lower case as in recipes.</summary>
    internal static Option<QuantizationKind> QuantizationOption(QuantizationKind standard) =>
        new("--quantization")
        {
            Description =
                $"form of the decoder's matrices: none (as stored), nf4, int8 [default: {standard.ToString().ToLowerInvariant()}]",
            HelpName = "none|nf4|int8",
            CustomParser = result =>
            {
                var text = result.Tokens[0].Value;
                if (Enum.TryParse<QuantizationKind>(text, ignoreCase: true, out var kind) && Enum.IsDefined(kind) && !char.IsDigit(text[0]))
                    return kind;
                result.AddError($"quantization is '{text}'; it can be none, nf4, int8.");
                return standard;
            },
            DefaultValueFactory = _ => standard,
        };
}
