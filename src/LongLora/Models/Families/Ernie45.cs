namespace LongLora.Models;

/// <summary>The dense ERNIE 4.5 family: Llama's layers with positions on interleaved pairs.</summary>
internal static class Ernie45
{
    internal static ModelFamily Family { get; } = Llama.Family;
}
