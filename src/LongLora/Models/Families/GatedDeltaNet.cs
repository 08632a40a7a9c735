using LongLora.Configs;
using LongLora.Layers;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Models;

// B rows, l tokens, D model size, C channels of the convolution, H value heads, K key size, V value size, n chunks of c tokens

/// <summary>
/// The gated delta net (arXiv 2412.06464) of Qwen3.5: S ← e^g S + β k (v - e^g Sᵀ k)ᵀ, o = Sᵀ q. Tokens are computed a chunk at a time:
/// inside a chunk the updates solve a triangular system, so that the state changes once for c tokens, and everything is matrix products.
/// </summary>
internal sealed class GatedDeltaNet : Recurrence
{
    private const int ChunkTokens = 64;

    private const double UnitEpsilon = 1e-6;

    private readonly LinearAttentionConfig _sizes;
    private readonly LinearLayer _mixed,
        _gate,
        _beta,
        _decay;
    private readonly Weight _convolution,
        _logDecay,
        _decayBias;
    private readonly INormLayer _norm;

    internal GatedDeltaNet(ModelConfig config, LayerBuilder layers, string name)
    {
        _sizes = config.LinearAttention!;
        var model = config.HiddenSize;
        Width = (long)_sizes.ValueHeadCount * _sizes.ValueSize;
        _mixed = layers.AddLinear(name + ".in_proj_qkv", model, Channels); // q, then k, then v
        _gate = layers.AddLinear(name + ".in_proj_z", model, Width);
        _beta = layers.AddLinear(name + ".in_proj_b", model, _sizes.ValueHeadCount);
        _decay = layers.AddLinear(name + ".in_proj_a", model, _sizes.ValueHeadCount);
        _convolution = layers.AddWeight(name + ".conv1d.weight", WeightRole.Matrix, Channels, 1, _sizes.ConvolutionSize);
        _logDecay = layers.AddWeight(name + ".A_log", WeightRole.Bias, _sizes.ValueHeadCount);
        _decayBias = layers.AddWeight(name + ".dt_bias", WeightRole.Scale, _sizes.ValueHeadCount);
        _norm = layers.AddRmsNorm(name + ".norm", _sizes.ValueSize, config.NormEpsilon);
    }

    /// <inheritdoc/>
    internal override long Width { get; }

    /// <inheritdoc/>
    internal override IReadOnlyList<LinearLayer> Layers => [_mixed, _gate, _beta, _decay];

    private long KeyWidth => (long)_sizes.KeyHeadCount * _sizes.KeySize;

    private long Channels => 2 * KeyWidth + Width;

    /// <inheritdoc/>
    internal override RecurrentState Begin(long rows, Device device) =>
        new(
            zeros([rows, _sizes.ConvolutionSize - 1, Channels], ScalarType.Float32, device),
            zeros([rows, _sizes.ValueHeadCount, _sizes.KeySize, _sizes.ValueSize], ScalarType.Float32, device)
        );

    /// <inheritdoc/>
    internal override (Tensor Output, RecurrentState State) Run(Tensor input, RecurrentState state)
    {
        using var scope = NewDisposeScope();
        static Tensor Wide(Tensor value) => value.In(ScalarType.Float32);
        var length = input.size(1);
        var mixed = cat([state.Tail, Wide(_mixed.Forward(input))], 1);
        var tail = mixed.narrow(1, length, _sizes.ConvolutionSize - 1).contiguous();
        var parts = Convolve(mixed, length);
        Tensor Heads(long start, int count, int size) => parts.narrow(2, start, (long)count * size).unflatten(2, [count, size]);
        var repeat = _sizes.ValueHeadCount / _sizes.KeyHeadCount;
        Tensor Keys(long start) => MakeUnit(Heads(start, _sizes.KeyHeadCount, _sizes.KeySize)).repeat_interleave(repeat, 2).transpose(1, 2);
        var query = Keys(0).mul(Scalars.Of(1 / Math.Sqrt(_sizes.KeySize)));
        var key = Keys(KeyWidth);
        var value = Heads(2 * KeyWidth, _sizes.ValueHeadCount, _sizes.ValueSize).transpose(1, 2);
        var beta = Wide(_beta.Forward(input)).sigmoid().transpose(1, 2); // -> [B, H, l]
        // ln of the decay: -e^A softplus(a + dt)
        var step = Wide(_decay.Forward(input)).add(Wide(_decayBias.Value), Scalars.One);
        var decay = step.logaddexp(zeros_like(step)).mul(Wide(_logDecay.Value).exp()).neg().transpose(1, 2);
        var (output, memory) = Update(query, key, value, decay, beta, state.Memory);
        var gate = Wide(_gate.Forward(input)).unflatten(2, [_sizes.ValueHeadCount, _sizes.ValueSize]);
        var gated = _norm.Forward(output.transpose(1, 2)).mul(nn.functional.silu(gate)).flatten(2, 3);
        return (gated.In(input.dtype).MoveToOuterDisposeScope(), new(tail.MoveToOuterDisposeScope(), memory.MoveToOuterDisposeScope()));
    }

    // Each channel by itself over the last tokens, then SiLU: [B, t + l, C] -> [B, l, C].
    private Tensor Convolve(Tensor mixed, long length)
    {
        var weights = _convolution.Value.In(ScalarType.Float32).squeeze(1); // -> [C, t + 1]
        var sum = mixed.narrow(1, 0, length).mul(weights.select(1, 0));
        for (var j = 1; j < _sizes.ConvolutionSize; j++)
            sum = sum.add(mixed.narrow(1, j, length).mul(weights.select(1, j)), Scalars.One);
        return nn.functional.silu(sum);
    }

    private static Tensor MakeUnit(Tensor heads) =>
        heads * (heads * heads).sum(-1, keepdim: true).add(Scalars.Of(UnitEpsilon), Scalars.One).rsqrt();

    /// <summary>
    /// The rule above for l tokens. Inside a chunk, with γ the sum of the g up to a token, the updates u solve (1 + A) u = β (v - e^γ Sᵀ k)
    /// with A[t, s] = β e^(γ_t - γ_s) k_t · k_s for s &lt; t.
    /// </summary>
    /// <param name="query">[B, H, l, K].</param>
    /// <param name="key">[B, H, l, K].</param>
    /// <param name="value">[B, H, l, V].</param>
    /// <param name="decay">g, [B, H, l].</param>
    /// <param name="beta">[B, H, l].</param>
    /// <param name="memory">S, [B, H, K, V].</param>
    internal static (Tensor Output, Tensor Memory) Update(Tensor query, Tensor key, Tensor value, Tensor decay, Tensor beta, Tensor memory)
    {
        using var scope = NewDisposeScope();
        var length = query.size(2);
        var chunk = length == 1 ? 1 : ChunkTokens;
        var missing = (chunk - length % chunk) % chunk;
        // -> [B, H, n, c, ..]; tokens of zeros behind the last change nothing
        Tensor Cut(Tensor all)
        {
            if (missing > 0)
            {
                long[] shape = all.shape;
                shape[2] = missing;
                all = cat([all, zeros(shape, all.dtype, all.device)], 2);
            }
            return all.unflatten(2, [-1, chunk]);
        }
        var (q, k, v, b, sums) = (Cut(query), Cut(key), Cut(value), Cut(beta).unsqueeze(-1), Cut(decay).cumsum(-1));
        var between = (sums.unsqueeze(-1) - sums.unsqueeze(-2)).tril().exp().tril(); // [B, H, n, c, c]
        var growth = sums.exp().unsqueeze(-1);
        var (weighted, keys) = (k * b, k.transpose(-1, -2));
        var system = (weighted.matmul(keys) * between).tril(-1);
        var solved = linalg.solve_triangular(system, cat([v * b, weighted * growth], -1), upper: false, left: true, unitriangular: true);
        var (fresh, share) = (solved.narrow(-1, 0, v.size(-1)), solved.narrow(-1, v.size(-1), k.size(-1)));
        var inside = q.matmul(keys) * between;
        var last = sums.narrow(-1, chunk - 1, 1); // [B, H, n, 1]
        var (toEnd, whole) = ((last - sums).exp().unsqueeze(-1), last.exp().unsqueeze(-1));
        var outputs = new List<Tensor>();
        for (long i = 0; i < q.size(2); i++)
        {
            Tensor Of(Tensor all) => all.select(2, i);
            var updates = Of(fresh) - Of(share).matmul(memory);
            outputs.Add((Of(q) * Of(growth)).matmul(memory).add(Of(inside).matmul(updates), Scalars.One));
            memory = (memory * Of(whole)).add((Of(k) * Of(toEnd)).transpose(-1, -2).matmul(updates), Scalars.One);
        }
        return (cat(outputs, 2).narrow(2, 0, length).MoveToOuterDisposeScope(), memory.MoveToOuterDisposeScope());
    }
}
