namespace LongLora.Models;

/// <summary>
/// The Ministral 3 family: Llama's layers with YaRN, and queries that grow with the logarithm of their position.
/// </summary>
internal static class Ministral3
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
