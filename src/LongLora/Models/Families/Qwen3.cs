namespace LongLora.Models;

/// <summary>
/// The dense Qwen3 family (arXiv 2505.09388): Llama's layers with an RMSNorm over each query and key head before positions. The head size
/// is independent, so all heads together may be wider or narrower than the model.
/// </summary>
internal static class Qwen3
{
    internal static ModelFamily Family { get; } = Llama.Derive(new BlockDesign { HeadNorms = ("q_norm", "k_norm") });
}
