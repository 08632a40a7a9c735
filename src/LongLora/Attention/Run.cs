namespace LongLora.Attention;

/// <summary>
/// Equal stretches one after the other: [Start, Start + Length), [Start + Length, Start + 2 Length), ...; or, where
/// <paramref name="Interleaved"/>, in turns: the first has the tokens Start, Start + Count, Start + 2 Count, ..., the second those after
/// them.
/// </summary>
/// <param name="Start">First token.</param>
/// <param name="Length">Tokens in one stretch.</param>
/// <param name="Count">Number of stretches.</param>
/// <param name="Interleaved">Whether the stretches take turns.</param>
public readonly record struct Run(int Start, int Length, int Count, bool Interleaved = false)
{
    /// <summary>The token after the last one.</summary>
    public int End => Start + Length * Count;

    /// <summary>
    /// Covers [start, end) by stretches of <paramref name="length"/> tokens, the last one shorter where it does not divide.
    /// </summary>
    public static IEnumerable<Run> Cover(int start, int end, int length)
    {
        var whole = (end - start) / length;
        if (whole > 0)
            yield return new(start, length, whole);
        if (start + whole * length < end)
            yield return new(start + whole * length, end - start - whole * length, 1);
    }
}
