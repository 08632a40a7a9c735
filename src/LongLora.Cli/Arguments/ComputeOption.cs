using System.CommandLine;
using LongLora.Runtime;

namespace LongLora.Cli.Arguments;

/// <summary><c>--compute</c>: the number format of activations and products.</summary>
internal sealed class ComputeOption : Option<ComputePrecision?>
{
    internal ComputeOption()
        : base("--compute")
    {
        Description =
            "number format of activations and products; auto: bf16 on GPUs, and on processors that multiply bf16 for models in 16 bits "
            + "[default: fp32 on the CPU, auto on CUDA]";
        HelpName = string.Join('|', Names);
        CustomParser = result =>
        {
            var text = result.Tokens[0].Value;
            if (Names.Contains(text))
                return Enum.Parse<ComputePrecision>(text, ignoreCase: true);
            result.AddError($"compute is '{text}'; it must be one of {string.Join(", ", Names)}.");
            return null;
        };
    }

    private static string[] Names { get; } = [.. Enum.GetNames<ComputePrecision>().Select(n => n.ToLowerInvariant())];
}
