using static TorchSharp.torch;

namespace LongLora.Tests;

/// <summary>Whole-tensor comparison by maximum difference.</summary>
internal static class Near
{
    /// <summary>Largest absolute difference of all elements.</summary>
    public static double Difference(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        using var scope = NewDisposeScope();
        return expected.numel() == 0 ? 0 : (expected.to(ScalarType.Float64) - actual.to(ScalarType.Float64)).abs().max().item<double>();
    }

    /// <summary>Fails unless every element is within <paramref name="tolerance"/>.</summary>
    public static void AssertEqual(Tensor expected, Tensor actual, double tolerance, string what = "")
    {
        var difference = Difference(expected, actual);
        Assert.True(difference <= tolerance, $"{what} differs by up to {difference:G4}, more than {tolerance:G4}");
    }

    /// <summary>Fails unless every element is within <paramref name="tolerance"/> times the largest expected one.</summary>
    public static void AssertRelative(Tensor expected, Tensor actual, double tolerance, string what = "")
    {
        using var scope = NewDisposeScope();
        AssertEqual(expected, actual, tolerance * expected.abs().max().to(ScalarType.Float64).item<double>(), what);
    }
}
