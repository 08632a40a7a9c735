namespace LongLora.Evaluation;

/// <summary>
/// Python's <c>random</c> for integers: the Mersenne Twister (MT19937), seeded as in CPython, so documents of evaluations that use Python's
/// generator are the same here.
/// </summary>
internal sealed class PythonRandom
{
    private const int Size = 624,
        Middle = 397;

    private readonly uint[] _state = new uint[Size];
    private int _next = Size;

    /// <summary><c>random.seed(seed)</c>.</summary>
    /// <param name="seed">Not negative.</param>
    public PythonRandom(int seed)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(seed);
        Scramble(19650218);
        uint[] key = [(uint)seed];
        var (i, j) = (1, 0);
        for (var k = Size; k > 0; k--)
        {
            _state[i] = unchecked((_state[i] ^ ((_state[i - 1] ^ (_state[i - 1] >> 30)) * 1664525u)) + key[j] + (uint)j);
            j = (j + 1) % key.Length;
            i = FindFollowing(i);
        }
        for (var k = Size - 1; k > 0; k--)
        {
            _state[i] = unchecked((_state[i] ^ ((_state[i - 1] ^ (_state[i - 1] >> 30)) * 1566083941u)) - (uint)i);
            i = FindFollowing(i);
        }
        _state[0] = 0x80000000;
    }

    /// <summary><c>random.randint(from, to)</c>: a number from <paramref name="from"/> to <paramref name="to"/>, both included.</summary>
    public int Between(int from, int to) => from + Below(to - from + 1);

    /// <summary>A number below <paramref name="count"/>.</summary>
    public int Below(int count)
    {
        var bits = 32 - System.Numerics.BitOperations.LeadingZeroCount((uint)count);
        uint drawn;
        do drawn = NextBits() >> (32 - bits);
        while (drawn >= count);
        return (int)drawn;
    }

    /// <summary>An element of a list, <c>random.choice</c>.</summary>
    public T Choose<T>(IReadOnlyList<T> items) => items[Below(items.Count)];

    /// <summary>Shuffles a list, <c>random.shuffle</c>.</summary>
    public void Shuffle<T>(IList<T> items)
    {
        for (var i = items.Count - 1; i > 0; i--)
        {
            var j = Below(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }

    /// <summary>Different numbers below <paramref name="count"/>, in random order.</summary>
    /// <param name="count">At least <paramref name="taken"/>.</param>
    /// <param name="taken">How many.</param>
    public List<int> Sample(int count, int taken)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(taken, count);
        var all = Enumerable.Range(0, count).ToArray();
        for (var i = 0; i < taken; i++)
        {
            var j = i + Below(count - i);
            (all[i], all[j]) = (all[j], all[i]);
        }
        return [.. all.Take(taken)];
    }

    private void Scramble(uint seed)
    {
        _state[0] = seed;
        for (var i = 1; i < Size; i++)
            _state[i] = unchecked((1812433253u * (_state[i - 1] ^ (_state[i - 1] >> 30))) + (uint)i);
    }

    // The index after i, wrapping around at the end.
    private int FindFollowing(int i)
    {
        if (++i < Size)
            return i;
        _state[0] = _state[Size - 1];
        return 1;
    }

    private uint NextBits()
    {
        if (_next == Size)
        {
            for (var i = 0; i < Size; i++)
            {
                var y = (_state[i] & 0x80000000) | (_state[(i + 1) % Size] & 0x7fffffff);
                _state[i] = _state[(i + Middle) % Size] ^ (y >> 1) ^ ((y & 1) == 0 ? 0 : 0x9908b0dfu);
            }
            _next = 0;
        }
        var x = _state[_next++];
        x ^= x >> 11;
        x ^= (x << 7) & 0x9d2c5680;
        x ^= (x << 15) & 0xefc60000;
        return x ^ (x >> 18);
    }
}
