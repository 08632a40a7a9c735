using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Runtime;

/// <summary>Where single tokens are computed by loops, and the numbers that these read.</summary>
public sealed class SmallWorkTests
{
    [Fact]
    public void Fits_only_where_it_is_allowed()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        Assert.False(SmallWork.Fits(zeros(1, 8)));
        using (SmallWork.Allow(true))
        {
            Assert.True(SmallWork.Fits(zeros(1, 8)));
            Assert.False(SmallWork.Fits(zeros(1, 8, ScalarType.BFloat16)));
            Assert.False(SmallWork.Fits(zeros(1 << 16)));
            Assert.False(SmallWork.Fits(zeros(4, 8).t()));
            using (SmallWork.Allow(false))
                Assert.False(SmallWork.Fits(zeros(1, 8)));
            Assert.True(SmallWork.Fits(zeros(1, 8)));
        }
        Assert.False(SmallWork.Fits(zeros(1, 8)));
    }

    [Fact]
    public void WidenHalf_reads_every_number()
    {
        for (var bits = 0; bits <= ushort.MaxValue; bits++)
        {
            var expected = (float)BitConverter.UInt16BitsToHalf((ushort)bits);
            var made = StoredNumbers.WidenHalf((ushort)bits);
            Assert.True(expected.Equals(made) && float.IsNegative(expected) == float.IsNegative(made), $"{bits:x4}: {expected}, {made}");
        }
    }
}
