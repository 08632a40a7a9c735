using LongLora.Configs;

namespace LongLora.Models;

/// <summary>
/// The SmolLM3 family: Llama's layers, every fourth of them without positions (NoPE). The config says which ones (<see cref="LayerPlan"/>).
/// </summary>
internal static class SmolLm3
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
