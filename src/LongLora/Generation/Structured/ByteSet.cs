namespace LongLora.Generation.Structured;

/// <summary>A set of bytes.</summary>
internal readonly record struct ByteSet(ulong A, ulong B, ulong C, ulong D)
{
    internal bool IsEmpty => (A | B | C | D) == 0;

    internal bool Contains(int value) => ((Part(value >> 6) >> (value & 63)) & 1) != 0;

    internal ByteSet With(int value)
    {
        var bit = 1UL << (value & 63);
        return (value >> 6) switch
        {
            0 => this with { A = A | bit },
            1 => this with { B = B | bit },
            2 => this with { C = C | bit },
            _ => this with { D = D | bit },
        };
    }

    internal static ByteSet Range(int first, int last)
    {
        var set = default(ByteSet);
        for (var value = first; value <= last; value++)
            set = set.With(value);
        return set;
    }

    internal static ByteSet Of(string ascii) => ascii.Aggregate(default(ByteSet), (set, c) => set.With(c));

    internal ByteSet Without(ByteSet other) => new(A & ~other.A, B & ~other.B, C & ~other.C, D & ~other.D);

    private ulong Part(int part) =>
        part switch
        {
            0 => A,
            1 => B,
            2 => C,
            _ => D,
        };
}
