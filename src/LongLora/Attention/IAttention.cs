using LongLora.Layers;
using static TorchSharp.torch;

namespace LongLora.Attention;

// B batch, L tokens, H query heads, J key-value heads (a divisor of H), K head size, G group

/// <summary>
/// Which earlier tokens each head of a position looks at. The attention is an argument of the forward pass: a sparse one in training and
/// <see cref="FullAttention"/> for everything else, with the same weights.
/// </summary>
public interface IAttention
{
    /// <summary>softmax(q kᵀ / sqrt(K)) v, causal, with the pairs that this pattern allows; differentiable.</summary>
    /// <param name="query">[B, H, L, K], any strides with K innermost.</param>
    /// <param name="key">[B, J, L, K].</param>
    /// <param name="value">[B, J, L, K].</param>
    /// <param name="documentLengths">
    /// Lengths of the documents in each row, with the sum L, if documents must not see each other; null if each row is one document.
    /// </param>
    /// <param name="heads">Which heads of the layer the queries belong to; null for all.</param>
    /// <returns>[B, H, L, K].</returns>
    Tensor Attend(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null
    );

    /// <summary>
    /// Like <see cref="Attend"/> but outside autograd. It keeps what <see cref="Backward"/> needs to compute nothing twice.
    /// </summary>
    /// <param name="query">[B, H, L, K], any strides with K innermost.</param>
    /// <param name="key">[B, J, L, K].</param>
    /// <param name="value">[B, J, L, K].</param>
    /// <param name="documentLengths">As for Attend.</param>
    /// <param name="heads">As for Attend.</param>
    /// <param name="into">Where to write the result; null for new tensors.</param>
    AttentionResult Forward(
        Tensor query,
        Tensor key,
        Tensor value,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null,
        AttentionResult? into = null
    );

    /// <summary>
    /// Whether <see cref="Forward"/> returns log-sum-exps on a device, so that <see cref="Backward"/> computes nothing twice.
    /// </summary>
    /// <param name="device">Where the heads are.</param>
    bool KeepsLogSumExp(Device device);

    /// <summary>Gradients of <see cref="Forward"/>'s arguments, in their layouts.</summary>
    /// <param name="gradient">[B, H, L, K], gradient of the output.</param>
    /// <param name="query">As given to Forward.</param>
    /// <param name="key">As given to Forward.</param>
    /// <param name="value">As given to Forward.</param>
    /// <param name="result">What Forward returned.</param>
    /// <param name="documentLengths">As given to Forward.</param>
    /// <param name="heads">As given to Forward.</param>
    /// <param name="into">Where to write the gradients, replacing the content; null for new tensors.</param>
    (Tensor Query, Tensor Key, Tensor Value) Backward(
        Tensor gradient,
        Tensor query,
        Tensor key,
        Tensor value,
        AttentionResult result,
        IReadOnlyList<IReadOnlyList<int>>? documentLengths = null,
        HeadSlice? heads = null,
        (Tensor Query, Tensor Key, Tensor Value)? into = null
    );

    /// <summary>
    /// The same attention in which a token looks back over at most <paramref name="window"/> tokens, itself included: a model's sliding
    /// window.
    /// </summary>
    /// <param name="window">W, at least 1.</param>
    IAttention Within(int window);

    /// <summary>The same attention with scores s as c tanh(s / c), before the mask (Gemma 2).</summary>
    /// <param name="cap">c, above 0.</param>
    IAttention WithScoreCap(double cap);

    /// <summary>
    /// The same attention with one more logit in each softmax, which takes its share and brings nothing (gpt-oss). <see cref="Backward"/>
    /// adds the gradient of the logits where they are trained.
    /// </summary>
    /// <param name="sinks">[H], one logit for each query head of the layer.</param>
    IAttention WithSinks(Weight sinks);

    /// <summary>The attention groups of both halves of the heads for one document, for plans and tests.</summary>
    /// <param name="length">L.</param>
    AttentionPattern MakePattern(int length);
}
