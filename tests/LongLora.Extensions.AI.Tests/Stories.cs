using LongLora.Generation;
using LongLora.Runtime;

namespace LongLora.Extensions.AI.Tests;

/// <summary>stories260K, a trained Llama of 260k parameters with 512 tokens of context, with a template by name.</summary>
internal static class Stories
{
    internal static string Folder { get; } = Path.Combine(AppContext.BaseDirectory, "Goldens", "stories260K-hf");

    internal static ChatModelOptions Options { get; } =
        new()
        {
            Model = Folder,
            Template = "llama2",
            Device = "cpu",
        };

    internal static LongLoraChatClient Open(GenerationOptions? defaults = null)
    {
        LibTorch.EnsureLoaded();
        return LongLoraChatClient.Open(Options, defaults);
    }
}
