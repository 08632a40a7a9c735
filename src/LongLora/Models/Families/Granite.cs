namespace LongLora.Models;

/// <summary>
/// The dense Granite family (3 and later): Llama's layers with factors on embeddings, scores, branches and logits, which come from the
/// config.
/// </summary>
internal static class Granite
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
