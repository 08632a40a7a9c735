using LongLora.Configs;

namespace LongLora.Models;

/// <summary>
/// The SmolLM3 family: Llama's layers, of which every fourth has no positions (NoPE); the config says which (<see cref="LayerPlan"/>).
/// </summary>
internal static class SmolLm3
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
