namespace LongLora.Data;

/// <summary>
/// Random numbers that are the same on every machine and .NET version, unlike System.Random's: SplitMix64 (Steele, Lea &amp; Flood 2014).
/// </summary>
/// <param name="seed">Any number; each gives a different sequence.</param>
internal sealed class SplitMix64(ulong seed)
{
    private ulong _state = seed;

    /// <summary>64 random bits.</summary>
    public ulong Next()
    {
        _state += 0x9E3779B97F4A7C15;
        var z = _state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>An integer in [0, <paramref name="end"/>).</summary>
    public int Below(int end)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(end, 1);
        return (int)Math.BigMul(Next(), (ulong)end, out _);
    }

    /// <summary>An integer in [<paramref name="first"/>, <paramref name="last"/>].</summary>
    public int Between(int first, int last) => first + Below(last - first + 1);

    /// <summary>A number in [0, 1).</summary>
    public double Share() => (Next() >> 11) * (1.0 / (1UL << 53));

    /// <summary>A random element; all are equally likely.</summary>
    public T Pick<T>(IReadOnlyList<T> items) => items[Below(items.Count)];

    /// <summary>Shuffles (Fisher-Yates).</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (var i = items.Length - 1; i > 0; i--)
        {
            var j = Below(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }
}
