using System.Runtime.CompilerServices;
using LongLora.Runtime;

namespace LongLora.Tests;

/// <summary>Test classes and test projects run side by side; threads of libtorch on top of that would wait for each other.</summary>
internal static class TorchThreads
{
    [ModuleInitializer]
    internal static void UseOne()
    {
        LibTorch.EnsureLoaded();
        TorchSharp.torch.set_num_threads(1);
    }
}
