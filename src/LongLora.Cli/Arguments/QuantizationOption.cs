using System.CommandLine;
using System.CommandLine.Parsing;
using LongLora.Quantization;

namespace LongLora.Cli.Arguments;

/// <summary><c>--quantization</c>, in lower case as in recipes.</summary>
internal sealed class QuantizationOption : Option<QuantizationKind?>
{
    /// <param name="standard">What is used without the option; null for what suits a model that only computes.</param>
    /// <param name="name">
    /// Its name. Where a file is written, its type is <c>--type</c> in every verb, and <c>--quantization</c> works too.
    /// </param>
    internal QuantizationOption(QuantizationKind? standard, string name = "--quantization")
        : base(name)
    {
        if (name != "--quantization")
            Aliases.Add("--quantization");
        Description =
            "how the decoder's matrices are stored: none (full precision), nf4, int8, or keep (the blocks of a GGUF file)"
            + (standard is null ? " [default: keep for a GGUF file on the CPU, else none]" : "");
        HelpName = "none|nf4|int8|keep";
        if (standard is not null)
            DefaultValueFactory = _ => standard;
        CustomParser = result =>
        {
            var text = result.Tokens[0].Value;
            if (Enum.TryParse<QuantizationKind>(text, ignoreCase: true, out var kind) && Enum.IsDefined(kind) && !char.IsDigit(text[0]))
                return kind;
            var typed = (result.Parent as OptionResult)?.IdentifierToken?.Value ?? name;
            result.AddError($"{typed.TrimStart('-')} is '{text}'; it must be one of none, nf4, int8, keep.");
            return standard;
        };
    }
}
