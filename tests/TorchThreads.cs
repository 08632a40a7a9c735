using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Tests;

/// <summary>Test classes run side by side, and so do test projects; threads of libtorch on top of that would only wait for each other.</summary>
internal static class TorchThreads
{
    [ModuleInitializer]
    internal static void UseOne()
    {
        LibTorch.EnsureLoaded();
        TorchSharp.torch.set_num_threads(1);
    }
}
