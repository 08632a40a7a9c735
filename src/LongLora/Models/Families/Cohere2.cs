namespace LongLora.Models;

/// <summary>
/// The Cohere 2 family (Command R7B, Command A): attention and MLP in parallel after one LayerNorm without bias. Layers with a sliding
/// window have positions on interleaved pairs; every fourth layer looks at everything and has no positions.
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
