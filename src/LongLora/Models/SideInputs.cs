using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B batch, L tokens, n layers, P size of an input, J key-value heads, K head size

/// <summary>
/// Inputs of a model's blocks in one pass, besides the residual stream: per-layer inputs for each token, and keys and values
/// that later layers use again. In training also their gradients, which come from several blocks.
/// </summary>
internal sealed class SideInputs : IDisposable
{
    private readonly Tensor? _inputs; // [n, B L, P]
    private readonly Dictionary<int, KeyValues> _keys;
    private readonly SideInputs? _whole; // where this is a part of it
    private readonly long _start,
        _count;
    private Tensor? _inputGradients;

    /// <summary>For a pass.</summary>
    /// <param name="inputs">[n, B L, P], or null; disposed with this.</param>
    internal SideInputs(Tensor? inputs) => (_inputs, _keys) = (inputs?.DetachFromDisposeScope(), []);

    private SideInputs(SideInputs whole, long start, long count) =>
        (_inputs, _keys, _whole, _start, _count) = (whole._inputs, whole._keys, whole._whole ?? whole, whole._start + start, count);

    /// <summary>Some consecutive tokens of each row, which <see cref="GetKeys"/> gives then.</summary>
    internal SideInputs Narrow(long start, long count) => new(this, start, count);

    /// <summary>The inputs of a layer for some rows: [N, P].</summary>
    internal Tensor GetInputs(int layer, long start, long count) => _inputs!.select(0, layer).narrow(0, start, count);

    /// <summary>Adds the gradient of <see cref="GetInputs"/>.</summary>
    internal void AddInputGradient(int layer, long start, Tensor gradient)
    {
        using var scope = NewDisposeScope();
        _inputGradients ??= HostMemory.AllocateApart(() => zeros_like(_inputs!)).DetachFromDisposeScope();
        _inputGradients.select(0, layer).narrow(0, start, gradient.size(0)).add_(gradient, Scalars.One);
    }

    /// <summary>The gradient of all inputs, [n, B L, P]; null if nobody has added any.</summary>
    internal Tensor? InputGradients => _inputGradients;

    /// <summary>Keys and values of some heads of a layer, [B, j, L, K].</summary>
    internal (Tensor Key, Tensor Value) GetKeys(int layer, long first, long heads)
    {
        Tensor Select(Tensor all)
        {
            var some = all.narrow(1, first, heads);
            return _whole is null ? some : some.narrow(2, _start, _count);
        }
        var own = _keys[layer];
        return (Select(own.Key), Select(own.Value));
    }

    /// <summary>Keeps all keys and values of a layer as they are, inside a graph too; the caller owns them.</summary>
    internal void Show(int layer, Tensor key, Tensor value) => _keys[layer] = new(key, value, IsOwned: false);

    /// <summary>Keeps a copy of some heads' keys and values, [B, j, L, K].</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="first">First of the heads.</param>
    /// <param name="total">J.</param>
    /// <param name="key">Keys.</param>
    /// <param name="value">Values.</param>
    internal void Keep(int layer, long first, long total, Tensor key, Tensor value)
    {
        if (!_keys.TryGetValue(layer, out var own))
            _keys[layer] = own = new(Make(key, total), Make(value, total), IsOwned: true);
        own.Key.narrow(1, first, key.size(1)).copy_(key);
        own.Value.narrow(1, first, value.size(1)).copy_(value);
    }

    /// <summary>Adds to the gradients of a layer's keys and values.</summary>
    internal void AddKeyGradients(int layer, long first, Tensor key, Tensor value)
    {
        var own = _keys[layer];
        own.KeyGradient ??= MakeZeros(own.Key);
        own.ValueGradient ??= MakeZeros(own.Value);
        own.KeyGradient.narrow(1, first, key.size(1)).add_(key, Scalars.One);
        own.ValueGradient.narrow(1, first, value.size(1)).add_(value, Scalars.One);
    }

    /// <summary>Adds what later layers have added to the gradients of a layer's own keys and values.</summary>
    internal void AddTo(int layer, long first, Tensor key, Tensor value)
    {
        var own = _keys[layer];
        if (own.KeyGradient is { } keys)
            key.add_(keys.narrow(1, first, key.size(1)), Scalars.One);
        if (own.ValueGradient is { } values)
            value.add_(values.narrow(1, first, value.size(1)), Scalars.One);
    }

    private static Tensor MakeZeros(Tensor like) => HostMemory.AllocateApart(() => zeros_like(like)).DetachFromDisposeScope();

    private static Tensor Make(Tensor like, long heads) =>
        HostMemory
            .AllocateApart(() => empty([like.size(0), heads, like.size(2), like.size(3)], like.dtype, like.device))
            .DetachFromDisposeScope();

    /// <inheritdoc/>
    public void Dispose()
    {
        _inputs?.Dispose();
        _inputGradients?.Dispose();
        foreach (var own in _keys.Values)
            own.Dispose();
    }

    private sealed record KeyValues(Tensor Key, Tensor Value, bool IsOwned) : IDisposable
    {
        internal Tensor? KeyGradient { get; set; }

        internal Tensor? ValueGradient { get; set; }

        public void Dispose()
        {
            if (IsOwned)
            {
                Key.Dispose();
                Value.Dispose();
            }
            KeyGradient?.Dispose();
            ValueGradient?.Dispose();
        }
    }
}
