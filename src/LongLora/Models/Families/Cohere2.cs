namespace LongLora.Models;

/// <summary>
/// The Cohere 2 family (Command R7B, Command A): attention and MLP side by side after one LayerNorm without bias, positions on interleaved
/// pairs in the layers with a sliding window, none in every fourth, which looks at everything.
/// </summary>
internal static class Cohere2
{
    internal static ModelFamily Family { get; } =
        Llama.Derive(
            new BlockDesign
            {
                MlpNorm = null, // the one before attention
                Norm = (layers, name, size, epsilon) => layers.AddPlainLayerNorm(name, size, epsilon),
            }
        );
}
