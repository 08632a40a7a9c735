using System.Buffers;

namespace LongLora.Tokenization;

/// <summary>Arrays for a moment: small ones from the shared pool, large ones not, since the pool would keep them for minutes.</summary>
internal static class ScratchArray
{
    private const int MostPooled = 1 << 20;

    /// <summary>An array of at least so many elements, with any content.</summary>
    public static T[] Rent<T>(int length) =>
        length <= MostPooled ? ArrayPool<T>.Shared.Rent(length) : GC.AllocateUninitializedArray<T>(length);

    /// <summary>Ends the use of an array that <see cref="Rent"/> gave.</summary>
    public static void Return<T>(T[] array)
    {
        if (array.Length <= MostPooled)
            ArrayPool<T>.Shared.Return(array);
    }
}
