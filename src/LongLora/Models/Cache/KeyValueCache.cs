using LongLora.Attention;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B rows, C capacity in tokens, J key-value heads, K head size

/// <summary>
/// Keys and values of the tokens that a model has read, for each row of a batch. Memory for the whole capacity is allocated once. Positions
/// are already applied to the keys, with rotary tables for the whole capacity, so scalings that depend on the length of the text (dynamic
/// NTK, longrope) are the same for every token. Of recurrent layers it holds the state.
/// </summary>
internal sealed class KeyValueCache : IDisposable
{
    private readonly CachedHeads?[] _keys,
        _values; // null for a recurrent layer, and for one that uses the keys of another
    private readonly RecurrentStates _states;
    private readonly int[] _lengths;
    private readonly CausalLanguageModel _model;
    private readonly KeyValueType? _type;

    /// <summary>An empty cache.</summary>
    /// <param name="model">The model it is for.</param>
    /// <param name="capacity">C, tokens of the longest row.</param>
    /// <param name="rows">B. Default 1.</param>
    /// <param name="type">Number type of the keys and values; null for the type that the model computes in.</param>
    public KeyValueCache(CausalLanguageModel model, int capacity, int rows = 1, KeyValueType? type = null)
    {
        if (capacity < 1 || rows < 1)
            throw new ShapeException($"A cache needs room for at least one token and one row, but got {capacity} and {rows}.");
        (_model, _type, Capacity, _lengths) = (model, type, capacity, new int[rows]);
        CachedHeads?[] Make() =>
            [
                .. model.Blocks.Select(
                    (b, i) => b.Recurrence is null && b.KeysOf is null ? new CachedHeads(model, i, capacity, rows, type) : null
                ),
            ];
        (_keys, _values, _states) = (Make(), Make(), new RecurrentStates(model, rows));
    }

    /// <summary>C, tokens of the longest row.</summary>
    public int Capacity { get; }

    /// <summary>B.</summary>
    public int Rows => _lengths.Length;

    /// <summary>Bytes of all keys and values.</summary>
    public long ByteCount => _keys.Concat(_values).Sum(heads => heads?.ByteCount ?? 0);

    /// <summary>Tokens that a row holds.</summary>
    public int GetLength(int row) => _lengths[row];

    /// <summary>Keeps only the first tokens of a row, so that text shared with the previous one does not have to be read again.</summary>
    /// <param name="row">The row.</param>
    /// <param name="length">Tokens to keep, at most those that the row holds.</param>
    /// <returns>
    /// The tokens that the row holds now: fewer than <paramref name="length"/>, namely none, if the model has recurrent layers and
    /// <paramref name="length"/> is neither what the row held nor what it held at <see cref="Mark"/>.
    /// </returns>
    public int Truncate(int row, int length)
    {
        if (length < 0 || length > _lengths[row])
            throw new ShapeException($"Cannot cut row {row} of the cache to {length} tokens because it holds {_lengths[row]}.");
        if (_states.Any && length != _lengths[row])
            length = _states.Return(row, length);
        return _lengths[row] = length;
    }

    /// <summary>
    /// Makes it possible to come back to the present length of a row by <see cref="Truncate"/>, whatever layers there are.
    /// </summary>
    /// <param name="row">The row.</param>
    public void Mark(int row)
    {
        if (_states.Any)
            _states.Mark(row, _lengths[row]);
    }

    /// <summary>A larger cache with the same content.</summary>
    /// <param name="capacity">C of the new cache, at least that of this one.</param>
    internal KeyValueCache Grow(int capacity)
    {
        var grown = new KeyValueCache(_model, capacity, Rows, _type);
        var filled = _lengths.Max();
        for (var block = 0; block < _keys.Length && filled > 0; block++)
        {
            if (_keys[block] is not { } keys)
                continue;
            grown._keys[block]!.CopyFrom(keys, filled);
            grown._values[block]!.CopyFrom(_values[block]!, filled);
        }
        grown._states.CopyFrom(_states);
        _lengths.CopyTo(grown._lengths, 0);
        return grown;
    }

    /// <summary>
    /// Appends keys and values [1, J, l, K] of a block to those of a row, and returns those that the new tokens look at, [1, J, n, K]: all
    /// of them, or with a window W the last W + l - 1.
    /// </summary>
    internal (StoredHeads Keys, StoredHeads Values) Append(int block, int row, Tensor key, Tensor value, int? window)
    {
        long start = _lengths[row],
            count = key.size(2),
            first = window is { } w ? Math.Max(0, start - w + 1) : 0;
        // Those of another block were written in the same pass.
        var source = _model.Blocks[block].KeysOf ?? block;
        var (keys, values) = (_keys[source]!, _values[source]!);
        if (source == block)
        {
            keys.Write(row, start, key);
            values.Write(row, start, value);
        }
        return (keys.Show(row, first, start + count - first), values.Show(row, first, start + count - first));
    }

    /// <summary>Reads the next tokens of a row in a recurrent block, [1, l, D] -> [1, l, W].</summary>
    internal Tensor Run(int block, int row, Tensor normed) => _states.Run(block, row, normed);

    /// <summary>Counts tokens that every block has written.</summary>
    internal void Advance(int row, int count) => _lengths[row] += count;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var heads in _keys.Concat(_values))
            heads?.Dispose();
        _states.Dispose();
    }
}
