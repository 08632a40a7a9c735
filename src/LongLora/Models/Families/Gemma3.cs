namespace LongLora.Models;

/// <summary>
/// The text part of the Gemma 3 family (arXiv 2503.19786): Gemma 2's layers with norms over query and key heads instead of the caps. Five
/// of six layers have a sliding window and their own positions.
/// </summary>
internal static class Gemma3
{
    internal static ModelFamily Family { get; } = Llama.Derive(Gemma2.Design with { HeadNorms = ("q_norm", "k_norm") });
}
