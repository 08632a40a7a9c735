using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace LongLora.Runtime;

/// <summary>Memory for fp32 numbers that one thread uses again and again.</summary>
internal sealed unsafe class PinnedBuffer
{
    private float[] _numbers = [];

    /// <summary>Room for some numbers, with any content. It is the same memory until more are asked for.</summary>
    /// <param name="count">How many.</param>
    public float* Get(long count)
    {
        if (_numbers.Length < count)
            _numbers = GC.AllocateUninitializedArray<float>((int)count, pinned: true);
        return (float*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_numbers));
    }
}
