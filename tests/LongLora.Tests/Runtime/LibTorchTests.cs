using LongLora.Runtime;
using TorchSharp;

namespace LongLora.Tests.Runtime;

public class LibTorchTests
{
    [Fact]
    public void EnsureLoaded_on_this_system_adds_two_tensors()
    {
        LibTorch.EnsureLoaded();
        using var sum = torch.ones(3) + torch.arange(3);
        Assert.Equal([1f, 2f, 3f], sum.data<float>().ToArray());
    }
}
