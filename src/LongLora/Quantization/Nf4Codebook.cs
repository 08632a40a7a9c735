using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Quantization;

/// <summary>
/// The two published tables of NF4 with double quantization: 16 values for weights and 256 for the scales of their blocks.
/// </summary>
internal static class Nf4Codebook
{
    /// <summary>Weights that share a scale (QLoRA, section 3).</summary>
    public const int BlockSize = 64;

    /// <summary>Scales that share a nested scale.</summary>
    public const int NestedBlockSize = 256;

    /// <summary>The code of zero.</summary>
    public const int Zero = 7;

    private static readonly float[] s_values =
    [
        -1.0f,
        -0.6961928009986877f,
        -0.5250730514526367f,
        -0.39491748809814453f,
        -0.28444138169288635f,
        -0.18477343022823334f,
        -0.09105003625154495f,
        0.0f,
        0.07958029955625534f,
        0.16093020141124725f,
        0.24611230194568634f,
        0.33791524171829224f,
        0.44070982933044434f,
        0.5626170039176941f,
        0.7229568362236023f,
        1.0f,
    ];

    // Halfway between neighbors, in the digits of bitsandbytes' decision tree: the first one is a tie that a computed mean would round the
    // other way.
    private static readonly float[] s_thresholds =
    [
        -0.8480964004993439f,
        -0.6106329262256622f,
        -0.4599952697753906f,
        -0.33967943489551544f,
        -0.23460740596055984f,
        -0.13791173323988914f,
        -0.045525018125772476f,
        0.03979014977812767f,
        0.1202552504837513f,
        0.2035212516784668f,
        0.2920137718319893f,
        0.3893125355243683f,
        0.5016634166240692f,
        0.6427869200706482f,
        0.8614784181118011f,
    ];

    private static readonly Lazy<float[]> s_scaleValues = new(MakeScaleValues);

    /// <summary>NF4: quantiles of the normal distribution with an exact zero, as published (QLoRA, appendix E).</summary>
    public static float[] Values => s_values;

    /// <summary>15 numbers; the code of a weight is how many of them it exceeds.</summary>
    public static ReadOnlySpan<float> Thresholds => s_thresholds;

    /// <summary>
    /// The dynamic 8-bit type (arXiv 1511.04561) of the scales. It contains, for each of seven powers of ten, the means of 1, 2, 4, ..., 64
    /// equal parts of [0.1, 1] with both signs, and 0 and 1, in ascending order.
    /// </summary>
    public static float[] ScaleValues => s_scaleValues.Value;

    /// <summary>
    /// The index of the value nearest to <paramref name="x"/> in an ascending table; the lower one of two that are equally near.
    /// </summary>
    public static int FindNearest(float[] table, float x)
    {
        var above = Array.BinarySearch(table, x);
        if (above >= 0)
            return above;
        above = ~above;
        if (above == 0)
            return 0;
        return above == table.Length || x - table[above - 1] <= table[above] - x ? above - 1 : above;
    }

    // Uses libtorch's own linspace, in fp32 throughout, because bitsandbytes makes its table this way. So the bits are the same.
    private static float[] MakeScaleValues()
    {
        LibTorch.EnsureLoaded();
        const int powers = 7;
        var values = new List<float> { 0, 1 };
        using var noGradient = no_grad();
        using var scope = NewDisposeScope();
        for (var i = 0; i < powers; i++)
        {
            var bounds = linspace(0.1, 1, (1 << i) + 1, ScalarType.Float32);
            var means = bounds.narrow(0, 0, 1 << i).add(bounds.narrow(0, 1, 1 << i), Scalars.One).mul(Scalars.Of(0.5));
            var scaled = means.mul(Scalars.Of(Math.Pow(10, i + 1 - powers)));
            values.AddRange(scaled.data<float>());
            values.AddRange(scaled.neg().data<float>());
        }
        values.Sort();
        return [.. values];
    }
}
