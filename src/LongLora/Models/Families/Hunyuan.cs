namespace LongLora.Models;

/// <summary>
/// The dense Hunyuan family: Llama's layers with a norm over each query and key head after positions, and a base of the frequencies that is
/// raised once and for all.
/// </summary>
internal static class Hunyuan
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(new BlockDesign { HeadNorms = ("query_layernorm", "key_layernorm"), HeadNormPlace = HeadNormPlace.AfterRotation });
}
