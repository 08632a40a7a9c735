using System.Runtime.Intrinsics;

namespace LongLora.Checkpoints;

/// <summary>
/// The layout of one block type: parts of 16 numbers, code · scale + shift. A value of it holds what all parts of one block share.
/// </summary>
internal unsafe interface IGgufBlock<TSelf>
    where TSelf : struct, IGgufBlock<TSelf>
{
    /// <summary>Bytes of a block.</summary>
    static abstract int Bytes { get; }

    /// <summary>Parts of a block.</summary>
    static abstract int Parts { get; }

    /// <summary>Whether numbers have a shift.</summary>
    static abstract bool HasShift { get; }

    /// <summary>Reads what all parts share.</summary>
    static abstract TSelf Open(byte* block);

    /// <summary>The codes of a part, in order.</summary>
    /// <param name="block">The block that was opened.</param>
    /// <param name="part">Its number.</param>
    /// <param name="scale">Factor on the codes.</param>
    /// <param name="shift">What is added; 0 without <see cref="HasShift"/>.</param>
    Vector128<sbyte> Read(byte* block, int part, out float scale, out float shift);
}
