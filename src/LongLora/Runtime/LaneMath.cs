using System.Runtime.CompilerServices;

namespace LongLora.Runtime;

/// <summary>Functions of vectors of fp32 numbers.</summary>
internal static class LaneMath
{
    // Below this, the result would not be a normal number.
    private const float Lowest = -87.33654f;

    // 1.5 · 2²³: a sum with it is rounded to a whole number, which is then in its lowest bits.
    private const float Rounding = 12582912;

    // ln 2 in two parts, the first with few digits.
    private const float Ln2 = 0.693359375f,
        Ln2Rest = -2.12194440e-4f;

    /// <summary>
    /// eˣ for x of at most 88, within 1e-7 of its value; 0 below -87.3. The polynomial is that of Cephes (expf).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Exp<TLanes, V>(V x)
        where TLanes : ILanes<V>
        where V : struct
    {
        var shifted = TLanes.MultiplyAdd(x, TLanes.Create(1.44269504f), TLanes.Create(Rounding));
        var whole = TLanes.Subtract(shifted, TLanes.Create(Rounding));
        var rest = TLanes.MultiplyAdd(whole, TLanes.Create(-Ln2), x);
        rest = TLanes.MultiplyAdd(whole, TLanes.Create(-Ln2Rest), rest);
        var sum = TLanes.MultiplyAdd(TLanes.Create(1.9875691500e-4f), rest, TLanes.Create(1.3981999507e-3f));
        sum = TLanes.MultiplyAdd(sum, rest, TLanes.Create(8.3334519073e-3f));
        sum = TLanes.MultiplyAdd(sum, rest, TLanes.Create(4.1665795894e-2f));
        sum = TLanes.MultiplyAdd(sum, rest, TLanes.Create(1.6666665459e-1f));
        sum = TLanes.MultiplyAdd(sum, rest, TLanes.Create(5.0000001201e-1f));
        sum = TLanes.Add(TLanes.MultiplyAdd(sum, TLanes.Multiply(rest, rest), rest), TLanes.Create(1));
        return TLanes.ZeroBelow(TLanes.Scale(sum, shifted), x, TLanes.Create(Lowest));
    }
}
