using System.CommandLine;
using LongLora.Quantization;

namespace LongLora.Cli.Arguments;

/// <summary><c>--quantization</c>, in lower case as in recipes.</summary>
internal sealed class QuantizationOption : Option<QuantizationKind>
{
    internal QuantizationOption(QuantizationKind standard)
        : base("--quantization")
    {
        Description = "how the decoder's matrices are stored: none (full precision), nf4, int8, or keep (the blocks of a GGUF file)";
        HelpName = "none|nf4|int8|keep";
        DefaultValueFactory = _ => standard;
        CustomParser = result =>
        {
            var text = result.Tokens[0].Value;
            if (Enum.TryParse<QuantizationKind>(text, ignoreCase: true, out var kind) && Enum.IsDefined(kind) && !char.IsDigit(text[0]))
                return kind;
            result.AddError($"quantization is '{text}'; it must be one of none, nf4, int8, keep.");
            return standard;
        };
    }
}
