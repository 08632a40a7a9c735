namespace LongLora.Runtime;

/// <summary>A vector of fp32 numbers in one register of the processor, so that a loop is written once for all widths.</summary>
/// <typeparam name="V">The register.</typeparam>
internal unsafe interface ILanes<V>
    where V : struct
{
    /// <summary>Numbers in a vector.</summary>
    static abstract int Count { get; }

    /// <summary>The <see cref="Count"/> numbers at an address.</summary>
    static abstract V Load(float* from);

    /// <summary>Writes the numbers to an address.</summary>
    static abstract void Store(V numbers, float* to);

    /// <summary>The same number in every lane.</summary>
    static abstract V Create(float number);

    /// <summary>a + b.</summary>
    static abstract V Add(V a, V b);

    /// <summary>a - b.</summary>
    static abstract V Subtract(V a, V b);

    /// <summary>a b.</summary>
    static abstract V Multiply(V a, V b);

    /// <summary>a b + c, rounded once.</summary>
    static abstract V MultiplyAdd(V a, V b, V c);

    /// <summary>The larger of two numbers; b if one of them is not a number.</summary>
    static abstract V Max(V a, V b);

    /// <summary>The sum of all lanes.</summary>
    static abstract float Sum(V numbers);

    /// <summary>The largest of all lanes.</summary>
    static abstract float Largest(V numbers);

    /// <summary>The numbers times 2ⁿ, where n is in the lowest nine bits of another vector's numbers; both finite and normal.</summary>
    static abstract V Scale(V numbers, V power);

    /// <summary>The numbers, and 0 where another vector's number is below a limit.</summary>
    static abstract V ZeroBelow(V numbers, V other, V limit);
}
