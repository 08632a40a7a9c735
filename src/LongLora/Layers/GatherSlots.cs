namespace LongLora.Layers;

/// <summary>
/// Which decoder blocks are in two buffers: the present one, and the one before or after it. A block that is still there is not gathered
/// again, so a pass that turns around at the last block saves two of them, and the next pass two more.
/// </summary>
internal sealed class GatherSlots
{
    private const int Nothing = -1;

    private readonly int[] _blocks = [Nothing, Nothing];
    private int _present = 1;

    /// <summary>Comes to a block.</summary>
    /// <returns>Its buffer, and whether the block must be gathered into it.</returns>
    internal (int Slot, bool IsMissing) Enter(int block)
    {
        var slot = Array.IndexOf(_blocks, block);
        var isMissing = slot < 0;
        _present = isMissing ? Fill(block) : slot;
        return (_present, isMissing);
    }

    /// <summary>The buffer into which a block must be gathered while the present one is in use; null if it is there.</summary>
    internal int? Prepare(int block) => Array.IndexOf(_blocks, block) < 0 ? Fill(block) : null;

    /// <summary>The blocks that a pass gathers, if it follows another one.</summary>
    /// <param name="visits">The blocks of a pass in order.</param>
    internal static IReadOnlyList<int> ListMissing(IReadOnlyList<int> visits)
    {
        var slots = new GatherSlots();
        IReadOnlyList<int> Pass() => [.. visits.Where(block => slots.Enter(block).IsMissing)];
        Pass();
        return Pass();
    }

    private int Fill(int block)
    {
        var slot = 1 - _present;
        _blocks[slot] = block;
        return slot;
    }
}
