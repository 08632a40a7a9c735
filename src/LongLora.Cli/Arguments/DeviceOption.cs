using System.CommandLine;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Cli.Arguments;

/// <summary><c>--device</c>: where to compute.</summary>
internal sealed class DeviceOption : Option<string>
{
    internal DeviceOption()
        : base("--device")
    {
        Description = "auto, cpu, cuda or cuda:N";
        HelpName = "NAME";
        DefaultValueFactory = _ => "auto";
    }

    internal Device Read(ParseResult parsed) => Devices.Parse(parsed.GetValue(this)!);
}
