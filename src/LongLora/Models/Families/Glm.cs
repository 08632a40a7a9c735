namespace LongLora.Models;

/// <summary>
/// The GLM family (GLM-4-9B in Hugging Face's layout): Llama's layers with a bias on q, k and v, gate and up in one layer, and positions on
/// the interleaved pairs of half of each head.
/// </summary>
internal static class Glm
{
    internal static ModelFamily Family { get; } = Llama.Derive(new BlockDesign { Mlp = GatedMlp.BuildFused });
}
