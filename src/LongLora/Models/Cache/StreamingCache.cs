using LongLora.Attention;
using LongLora.Positions;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

/// <summary>
/// Keys and values of the first tokens of a text (attention sinks) and of the last ones, in memory that does not grow. A token looks at the
/// S sinks and at the last W tokens including itself. Positions count within these: the sinks have 0 to S - 1, and the current token has at
/// most S + W - 1.
/// </summary>
/// <remarks>
/// Attention depends only on differences of positions. So keys of the window are rotated once, by their position in the text, and stored in
/// a ring that new tokens overwrite. The sinks are stored without rotation and rotated again for each token, to positions right before the
/// window. The published code rotates all keys for every token. The scores are the same, but here a token costs S rotations instead of S +
/// W.
/// </remarks>
internal sealed class StreamingCache : IDisposable
{
    // A chunk looks at the W keys before it and at itself. Longer chunks are not cheaper per token and need a larger mask.
    private const int LargestChunk = 512;

    private readonly CachedHeads[] _keys,
        _values; // slots 0 to S - 1: sinks; S + i mod W: token S + i
    private readonly Tensor[] _sinkKeys; // [1, J, S, K], not rotated
    private readonly RopeFrequencies _frequencies;
    private readonly Device _device;
    private long _sinkPosition; // position of the first sink for which slots 0 to S - 1 are rotated; -1 if unknown

    /// <summary>An empty cache.</summary>
    /// <param name="model">The model it is for.</param>
    /// <param name="options">Sinks and window.</param>
    /// <param name="type">Number type of the keys and values; null for the type that the model computes in.</param>
    /// <exception cref="ConfigurationException">Sinks and window do not fit into the model's context.</exception>
    public StreamingCache(CausalLanguageModel model, StreamingOptions options, KeyValueType? type = null)
    {
        (SinkTokens, Window, _device) = (options.SinkTokens, options.GetWindow(model.Config), model.Device);
        _frequencies = RopeScaling.ComputeFrequencies(model.Config, SinkTokens + Window);
        CachedHeads[] Make() => [.. model.Blocks.Select((_, block) => new CachedHeads(model, block, SinkTokens + Window, 1, type))];
        (_keys, _values) = (Make(), Make());
        _sinkKeys =
        [
            .. model.Blocks.Select(_ =>
                empty([1, model.Config.KeyValueHeadCount, SinkTokens, model.Config.HeadSize], model.ComputeType, _device)
                    .DetachFromDisposeScope()
            ),
        ];
    }

    /// <summary>S.</summary>
    public int SinkTokens { get; }

    /// <summary>W.</summary>
    public int Window { get; }

    /// <summary>Tokens read since the start of the text.</summary>
    public long Length { get; private set; }

    /// <summary>The most tokens that can be read at once.</summary>
    public int ChunkTokens => Math.Min(Window, LargestChunk);

    /// <summary>Bytes of all keys and values, independent of the length of the text.</summary>
    public long ByteCount =>
        _keys.Concat(_values).Sum(heads => heads.ByteCount) + _sinkKeys.Sum(keys => keys.numel() * keys.element_size());

    /// <summary>
    /// Forgets the text after its first tokens, if all of these are still held. This is true as long as sinks and window are not full.
    /// </summary>
    /// <param name="length">Tokens to keep.</param>
    /// <returns>Whether it was possible. If not, nothing has changed; call <see cref="Clear"/> and start again.</returns>
    public bool TryTruncate(long length)
    {
        if (length == Length)
            return true;
        if (length < 0 || length > Length || Length > SinkTokens + Window)
            return false;
        Length = length;
        return true;
    }

    /// <summary>Forgets everything.</summary>
    public void Clear() => (Length, _sinkPosition) = (0, 0);

    /// <summary>What the next tokens need in every block: rotary tables and the mask. The caller disposes it.</summary>
    internal StreamingStep Begin(int count)
    {
        if (count < 1 || count > ChunkTokens)
            throw new ShapeException($"A streaming cache reads 1 to {ChunkTokens} tokens at once, but got {count}.");
        return count == 1
            ? StreamingStep.ForToken(this, _frequencies, _device)
            : StreamingStep.ForChunk(this, _frequencies, _device, count);
    }

    /// <summary>Counts tokens that every block has read.</summary>
    internal void Advance(StreamingStep step)
    {
        // A chunk leaves the sinks in their slots without rotation.
        (Length, _sinkPosition) = (Length + step.Count, step.Count == 1 ? step.SinkPosition : -1);
    }

    /// <summary>
    /// Attention of a block's next tokens, [1, H, l, K], to the sinks, the window and each other. It stores their keys and values.
    /// </summary>
    /// <param name="block">Index of the block.</param>
    /// <param name="query">[1, H, l, K], not rotated.</param>
    /// <param name="key">[1, J, l, K], not rotated.</param>
    /// <param name="value">[1, J, l, K].</param>
    /// <param name="step">From <see cref="Begin"/>.</param>
    internal Tensor Attend(int block, Tensor query, Tensor key, Tensor value, StreamingStep step)
    {
        using var scope = NewDisposeScope();
        KeepSinks(block, key, value, step);
        var result = step.Count == 1 ? AttendToken(block, query, key, value, step) : AttendChunk(block, query, key, value, step);
        return result.MoveToOuterDisposeScope();
    }

    private void KeepSinks(int block, Tensor key, Tensor value, StreamingStep step)
    {
        if (step.NewSinks == 0)
            return;
        _sinkKeys[block].narrow(2, Length, step.NewSinks).copy_(key.narrow(2, 0, step.NewSinks));
        _values[block].Write(0, Length, value.narrow(2, 0, step.NewSinks));
    }

    private Tensor AttendToken(int block, Tensor query, Tensor key, Tensor value, StreamingStep step)
    {
        if (step.Sinks > 0 && (step.SinkPosition != _sinkPosition || step.NewSinks > 0))
            _keys[block].Write(0, 0, Rotate(_sinkKeys[block].narrow(2, 0, step.Sinks), step.SinkRotations));
        if (step.NewSinks == 0)
        {
            _keys[block].Write(0, FindSlot(Length), Rotate(key, step.Rotations));
            _values[block].Write(0, FindSlot(Length), value);
        }
        var held = Math.Min(Length + 1, SinkTokens + Window);
        return Dispatcher.ScaledDotProductAttention(
            Rotate(query, step.Rotations),
            _keys[block].Read(0, 0, held),
            _values[block].Read(0, 0, held),
            null,
            causal: false
        );
    }

    // One fused call: a query consists of both its rotated forms, and a key has zeros in the form that does not apply to it.
    private Tensor AttendChunk(int block, Tensor query, Tensor key, Tensor value, StreamingStep step)
    {
        var (fresh, first) = (step.Count - step.NewSinks, Length + step.NewSinks);
        Tensor New(Tensor heads) => heads.narrow(2, step.NewSinks, fresh);
        var (newKeys, newValues) = (New(Rotate(key, step.Rotations)), New(value));
        // [1, J, n, K]: sinks, the ring in the order of its slots, the new tokens
        var keys = cat([_keys[block].Read(0, SinkTokens, step.Ring), newKeys], 2);
        var values = cat([_values[block].Read(0, 0, step.Sinks), _values[block].Read(0, SinkTokens, step.Ring), newValues], 2);
        var sinks = Rotate(_sinkKeys[block].narrow(2, 0, step.Sinks), step.SinkRotations);
        // The kernel divides by the square root of 2 K.
        var queries = cat([Rotate(query, step.CacheRotations!), Rotate(query, step.Rotations)], 3).mul_(Scalars.Of(Math.Sqrt(2)));
        var both = cat([cat([sinks, zeros_like(sinks)], 3), cat([zeros_like(keys), keys], 3)], 2); // -> [1, J, n, 2 K]
        var result = MaskedAttention.Attend(queries, both, cat([values, zeros_like(values)], 3), step.Mask!).narrow(3, 0, query.size(3));
        for (long written = 0, count; written < fresh; written += count)
        {
            // Up to the end of the ring, then from its start.
            var slot = FindSlot(first + written);
            count = Math.Min(fresh - written, SinkTokens + Window - slot);
            _keys[block].Write(0, slot, newKeys.narrow(2, written, count));
            _values[block].Write(0, slot, newValues.narrow(2, written, count));
        }
        return result;
    }

    private long FindSlot(long token) => SinkTokens + (token - SinkTokens) % Window;

    // [1, J, l, K]
    private static Tensor Rotate(Tensor heads, RotaryEmbedding rotations) => rotations.Rotate(heads.transpose(1, 2)).transpose(1, 2);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var heads in _keys.Concat(_values))
            heads.Dispose();
        foreach (var keys in _sinkKeys)
            keys.Dispose();
    }
}

/// <summary>What the next tokens of a streamed text need in every block.</summary>
internal sealed class StreamingStep : IDisposable
{
    /// <summary>l, the number of new tokens.</summary>
    internal required int Count { get; init; }

    /// <summary>Number of sinks, including the new ones.</summary>
    internal required int Sinks { get; init; }

    /// <summary>How many of the new tokens are sinks.</summary>
    internal required int NewSinks { get; init; }

    /// <summary>Tokens in the ring before this step.</summary>
    internal required int Ring { get; init; }

    /// <summary>Position of the first sink, seen from the new tokens' positions in the text.</summary>
    internal required long SinkPosition { get; init; }

    /// <summary>Tables for the new tokens' positions in the text.</summary>
    internal required RotaryEmbedding Rotations { get; init; }

    /// <summary>Tables for the sinks.</summary>
    internal required RotaryEmbedding SinkRotations { get; init; }

    /// <summary>Tables for the new tokens' positions in the cache, which apply to the sinks; only for chunks.</summary>
    internal RotaryEmbedding? CacheRotations { get; init; }

    /// <summary>[l, n], true where a token looks; only for chunks.</summary>
    internal Tensor? Mask { get; init; }

    // The sinks move along with the token: their positions are right before the window.
    internal static StreamingStep ForToken(StreamingCache cache, RopeFrequencies frequencies, Device device)
    {
        var (token, sinks) = (cache.Length, CountSinks(cache, 1));
        var sinkPosition = Math.Max(0, token - (cache.SinkTokens + cache.Window - 1));
        return new()
        {
            Count = 1,
            Sinks = sinks,
            NewSinks = CountNewSinks(cache, 1),
            Ring = CountRingTokens(cache),
            SinkPosition = sinkPosition,
            Rotations = RotaryEmbedding.At(frequencies, [token], device),
            SinkRotations = RotaryEmbedding.At(frequencies, [.. Enumerable.Range(0, sinks).Select(j => sinkPosition + j)], device),
        };
    }

    // For each token of a chunk the sinks would have other positions. So the sinks keep theirs, and queries are rotated separately for
    // them.
    internal static StreamingStep ForChunk(StreamingCache cache, RopeFrequencies frequencies, Device device, int count)
    {
        var (sinks, newSinks, ring) = (CountSinks(cache, count), CountNewSinks(cache, count), CountRingTokens(cache));
        long[] tokens = [.. Enumerable.Range(0, count).Select(i => cache.Length + i)];
        // The token in a slot of the ring: the last one before the chunk that maps to it.
        long InRing(long slot) => cache.SinkTokens + slot + cache.Window * ((cache.Length - 1 - cache.SinkTokens - slot) / cache.Window);
        long[] keys = [.. Enumerable.Range(0, ring).Select(i => InRing(i)), .. tokens.Skip(newSinks)];
        var mask = new bool[count * (sinks + keys.Length)];
        for (var i = 0; i < count; i++)
        {
            var row = mask.AsSpan(i * (sinks + keys.Length), sinks + keys.Length);
            for (var j = 0; j < sinks; j++)
                row[j] = j <= tokens[i];
            for (var j = 0; j < keys.Length; j++)
                row[sinks + j] = keys[j] <= tokens[i] && keys[j] > tokens[i] - cache.Window;
        }
        return new()
        {
            Count = count,
            Sinks = sinks,
            NewSinks = newSinks,
            Ring = ring,
            SinkPosition = 0,
            Rotations = RotaryEmbedding.At(frequencies, tokens, device),
            SinkRotations = RotaryEmbedding.At(frequencies, [.. Enumerable.Range(0, sinks).Select(j => (long)j)], device),
            CacheRotations = RotaryEmbedding.At(
                frequencies,
                [.. tokens.Select(t => Math.Min(t, cache.SinkTokens + cache.Window - 1L))],
                device
            ),
            Mask = tensor(mask, [count, sinks + keys.Length], device: device).DetachFromDisposeScope(),
        };
    }

    private static int CountSinks(StreamingCache cache, int count) => (int)Math.Min(cache.SinkTokens, cache.Length + count);

    private static int CountNewSinks(StreamingCache cache, int count) => (int)Math.Clamp(cache.SinkTokens - cache.Length, 0, count);

    private static int CountRingTokens(StreamingCache cache) => (int)Math.Clamp(cache.Length - cache.SinkTokens, 0, cache.Window);

    public void Dispose()
    {
        Rotations.Dispose();
        SinkRotations.Dispose();
        CacheRotations?.Dispose();
        Mask?.Dispose();
    }
}
