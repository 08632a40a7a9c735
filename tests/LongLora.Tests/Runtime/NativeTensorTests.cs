using System.Runtime.InteropServices;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

public unsafe class NativeTensorTests
{
    [Fact]
    public void FromMemory_and_Data_share_the_memory()
    {
        var memory = (float*)NativeMemory.AllocZeroed(6, sizeof(float));
        try
        {
            memory[4] = 7;
            using var tensor = NativeTensor.FromMemory((nint)memory, ScalarType.Float32, [2, 3]);
            Assert.Equal([0f, 0, 0, 0, 7, 0], tensor.data<float>().ToArray());
            memory[0] = 3;
            Assert.Equal(3f, tensor[0, 0].item<float>());
            Assert.Equal((nint)memory, NativeTensor.GetPointer(tensor));
            using var row = tensor.narrow(0, 1, 1);
            Assert.Equal((nint)(memory + 3), NativeTensor.GetPointer(row));
        }
        finally
        {
            NativeMemory.Free(memory);
        }
    }

    [Fact]
    public void Data_of_a_tensor_with_gaps_is_refused()
    {
        using var turned = ones(2, 3).t();
        Assert.Contains(
            "not contiguous",
            Assert.Throws<ShapeException>(() => NativeTensor.GetPointer(turned)).Message,
            StringComparison.Ordinal
        );
    }
}
