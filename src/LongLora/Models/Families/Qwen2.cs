namespace LongLora.Models;

/// <summary>
/// The Qwen2 and Qwen2.5 family (arXiv 2407.10671): Llama's layers with a bias on q, k and v and none on o. Small sizes have a tied head.
/// If the config enables a sliding window, it applies to the layers from <c>max_window_layers</c> on.
/// </summary>
internal static class Qwen2
{
    internal static ModelFamily Family { get; } = Llama.Derive(new BlockDesign { Biases = _ => (true, false) });
}
