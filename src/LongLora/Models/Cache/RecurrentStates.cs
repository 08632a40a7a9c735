using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>
/// The states of a model's recurrent layers after the tokens of each row. A state cannot be shortened: it is known only at the end of the
/// text and at one marked position before.
/// </summary>
/// <param name="model">The model.</param>
/// <param name="rows">B.</param>
internal sealed class RecurrentStates(CausalLanguageModel model, int rows) : IDisposable
{
    private readonly RecurrentState?[,] _states = new RecurrentState?[model.Blocks.Count, rows],
        _marked = new RecurrentState?[model.Blocks.Count, rows];
    private readonly int[] _marks = new int[rows];

    /// <summary>Whether the model has such layers.</summary>
    internal bool Any { get; } = model.Blocks.Any(b => b.Recurrence is not null);

    /// <summary>Reads the next tokens of a row, [1, l, D] -> [1, l, W], and keeps the state after them.</summary>
    internal Tensor Run(int block, int row, Tensor normed)
    {
        using var scope = NewDisposeScope();
        var recurrence = model.Blocks[block].Recurrence!;
        var (output, next) = recurrence.Run(normed, _states[block, row] ?? recurrence.Begin(1, normed.device));
        Set(_states, block, row, next);
        return output.MoveToOuterDisposeScope();
    }

    /// <summary>Saves the states of a row at its current length.</summary>
    internal void Mark(int row, int length)
    {
        _marks[row] = length;
        for (var block = 0; block < model.Blocks.Count; block++)
            Set(_marked, block, row, _states[block, row]);
    }

    /// <summary>Goes back to a length of a row if possible, else to its start.</summary>
    /// <returns>The length.</returns>
    internal int Return(int row, int length)
    {
        var isMarked = length > 0 && _marks[row] == length;
        for (var block = 0; block < model.Blocks.Count; block++)
            Set(_states, block, row, isMarked ? _marked[block, row] : null);
        return isMarked ? length : 0;
    }

    /// <summary>Copies all states of another.</summary>
    internal void CopyFrom(RecurrentStates other)
    {
        for (var block = 0; block < model.Blocks.Count; block++)
        {
            for (var row = 0; row < rows; row++)
            {
                Set(_states, block, row, other._states[block, row]);
                Set(_marked, block, row, other._marked[block, row]);
            }
        }
        other._marks.CopyTo(_marks, 0);
    }

    private static void Set(RecurrentState?[,] states, int block, int row, RecurrentState? state)
    {
        // Copied first, because it may have been made from the old one.
        var copy = state is { } known
            ? new RecurrentState(known.Tail.clone().DetachFromDisposeScope(), known.Memory.clone().DetachFromDisposeScope())
            : (RecurrentState?)null;
        Free(states[block, row]);
        states[block, row] = copy;
    }

    private static void Free(RecurrentState? state)
    {
        state?.Tail.Dispose();
        state?.Memory.Dispose();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var state in _states)
            Free(state);
        foreach (var state in _marked)
            Free(state);
    }
}
