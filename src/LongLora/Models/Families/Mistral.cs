namespace LongLora.Models;

/// <summary>
/// The Mistral family (7B, Nemo and models of the same architecture; arXiv 2310.06825): Llama's layers. The first release has a sliding
/// window of 4,096 tokens in every layer, which comes from the config.
/// </summary>
internal static class Mistral
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
