namespace LongLora.Models;

/// <summary>
/// The dense Hunyuan family: Llama's layers with a norm over each query and key head after positions, and a raised base of the frequencies.
/// </summary>
internal static class Hunyuan
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(new BlockDesign { HeadNorms = ("query_layernorm", "key_layernorm"), HeadNormPlace = HeadNormPlace.AfterRotation });
}
