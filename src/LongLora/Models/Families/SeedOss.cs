namespace LongLora.Models;

/// <summary>The Seed-OSS family: Llama's layers with a bias on q, k and v and a head size of its own.</summary>
internal static class SeedOss
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
