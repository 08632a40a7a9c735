using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B rows, C capacity in tokens, J key-value heads, K head size

/// <summary>
/// Keys and values of the tokens that a model has read, for each row of a batch: room for all of them is taken once. Keys have their
/// positions applied, with rotary tables made for the whole capacity, so that scalings which depend on the length of the text (dynamic
/// NTK, longrope) are the same for every token.
/// </summary>
public sealed class KeyValueCache : IDisposable
{
    private readonly CachedHeads[] _keys,
        _values;
    private readonly int[] _lengths;
    private readonly CausalLanguageModel _model;
    private readonly KeyValueType? _type;

    /// <summary>An empty cache.</summary>
    /// <param name="model">The model it is for.</param>
    /// <param name="capacity">C, tokens of the longest row.</param>
    /// <param name="rows">B. Default 1.</param>
    /// <param name="type">In what numbers they are kept; null for the type that the model computes in.</param>
    public KeyValueCache(CausalLanguageModel model, int capacity, int rows = 1, KeyValueType? type = null)
    {
        if (capacity < 1 || rows < 1)
            throw new ShapeException($"A cache needs room for at least one token and row; seen {capacity} and {rows}.");
        (_model, _type, Capacity, _lengths) = (model, type, capacity, new int[rows]);
        CachedHeads[] Make() => [.. model.Blocks.Select(_ => new CachedHeads(model, capacity, rows, type))];
        (_keys, _values) = (Make(), Make());
    }

    /// <summary>C, tokens of the longest row.</summary>
    public int Capacity { get; }

    /// <summary>B.</summary>
    public int Rows => _lengths.Length;

    /// <summary>Bytes of all keys and values.</summary>
    public long ByteCount => _keys.Concat(_values).Sum(heads => heads.ByteCount);

    /// <summary>Tokens that a row holds.</summary>
    public int GetLength(int row) => _lengths[row];

    /// <summary>Forgets all but the first tokens of a row: what a text shares with the one before it need not be read again.</summary>
    /// <param name="row">The row.</param>
    /// <param name="length">Tokens to keep, at most those that it holds.</param>
    public void Truncate(int row, int length)
    {
        if (length < 0 || length > _lengths[row])
            throw new ShapeException($"Row {row} of the cache holds {_lengths[row]} tokens and cannot be cut to {length}.");
        _lengths[row] = length;
    }

    /// <summary>A larger cache that holds the same.</summary>
    /// <param name="capacity">C of the new one, at least that of this one.</param>
    internal KeyValueCache Grow(int capacity)
    {
        var grown = new KeyValueCache(_model, capacity, Rows, _type);
        var filled = _lengths.Max();
        for (var block = 0; block < _keys.Length && filled > 0; block++)
        {
            grown._keys[block].CopyFrom(_keys[block], filled);
            grown._values[block].CopyFrom(_values[block], filled);
        }
        _lengths.CopyTo(grown._lengths, 0);
        return grown;
    }

    /// <summary>
    /// Writes keys and values [1, J, l, K] of a block behind those that a row holds, and gives those that the new tokens look at, [1, J,
    /// n, K]: all, or with a window W the last W + l - 1.
    /// </summary>
    internal (Tensor Keys, Tensor Values) Append(int block, int row, Tensor key, Tensor value, int? window)
    {
        long start = _lengths[row],
            count = key.size(2),
            first = window is { } w ? Math.Max(0, start - w + 1) : 0;
        _keys[block].Write(row, start, key);
        _values[block].Write(row, start, value);
        return (_keys[block].Read(row, first, start + count - first), _values[block].Read(row, first, start + count - first));
    }

    /// <summary>Counts tokens in that every block has written.</summary>
    internal void Advance(int row, int count) => _lengths[row] += count;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var heads in _keys.Concat(_values))
            heads.Dispose();
    }
}
