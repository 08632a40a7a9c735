using System.Numerics;

namespace LongLora.Runtime;

/// <summary>A type in which numbers are stored.</summary>
/// <typeparam name="T">Its bits.</typeparam>
internal unsafe interface IStoredNumber<T>
    where T : unmanaged
{
    /// <summary>The next two vectors of numbers, in fp32.</summary>
    static abstract (Vector<float> First, Vector<float> Second) Load(T* at);

    /// <summary>One number.</summary>
    static abstract float Widen(T value);
}
