using System.CommandLine;
using LongLora.Models;

namespace LongLora.Cli.Arguments;

/// <summary><c>--cache-type</c>: number format of the key-value cache.</summary>
internal sealed class CacheTypeOption : Option<KeyValueType?>
{
    internal CacheTypeOption()
        : base("--cache-type")
    {
        Description = "number format of the key-value cache [default: f32; on CUDA bf16]";
        HelpName = "f32|bf16|int8";
    }
}
