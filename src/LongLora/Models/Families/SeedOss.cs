namespace LongLora.Models;

/// <summary>The Seed-OSS family: Llama's layers with a bias on q, k and v and an independent head size.</summary>
internal static class SeedOss
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
