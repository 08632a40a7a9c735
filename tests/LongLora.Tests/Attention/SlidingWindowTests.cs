using LongLora.Attention;
using static TorchSharp.torch;

namespace LongLora.Tests.Attention;

/// <summary>Windows of every size against softmax over pairs that are asked one by one, inside each pattern.</summary>
public class SlidingWindowTests
{
    private const int Length = 37,
        Group = 16,
        Heads = 4;

    private static bool IsSeen(string kind, int window, int h, int q, int k)
    {
        var inFirstHalf = h < Heads / 2;
        return k <= q
            && q - k < window
            && kind switch
            {
                "full" => true,
                "dilated" when !inFirstHalf && q < 2 * Group => k % 2 == q % 2,
                "shifted-sparse" when !inFirstHalf => (q + Group / 2) / Group == (k + Group / 2) / Group,
                _ => q / Group == k / Group,
            };
    }

    private static IAttention Create(string kind) =>
        kind switch
        {
            "full" => new FullAttention(),
            "dilated" => new DilatedAttention(Group),
            _ => new ShiftedSparseAttention(Group),
        };

    private static Tensor Random(int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(shape, generator: generator);
    }

    public static TheoryData<string, int> Cases()
    {
        var data = new TheoryData<string, int>();
        foreach (var kind in new[] { "full", "dilated", "shifted-sparse" })
        {
            foreach (var window in new[] { 1, 2, 5, 9, 12, 36, 37, 100 })
                data.Add(kind, window);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Within_any_window_equals_dense_mask_with_gradients(string kind, int window)
    {
        using var scope = NewDisposeScope();
        var attention = Create(kind).Within(window);
        Tensor query = Random(1, 2, Heads, Length, 16),
            key = Random(2, 2, 2, Length, 16),
            value = Random(3, 2, 2, Length, 16),
            gradient = Random(4, 2, Heads, Length, 16);
        var pairs = Enumerable
            .Range(0, Heads * Length * Length)
            .Select(at => IsSeen(kind, window, at / (Length * Length), at / Length % Length, at % Length) ? 0 : float.NegativeInfinity)
            .ToArray();
        var mask = tensor(pairs, [Heads, Length, Length]);
        Tensor[] ByAutograd(Func<Tensor, Tensor, Tensor, Tensor> attend)
        {
            var leaves = new[] { query, key, value }.Select(x => x.clone().requires_grad_(true)).ToArray();
            var output = attend(leaves[0], leaves[1], leaves[2]);
            output.backward([gradient]);
            return [output, .. leaves.Select(l => l.grad!)];
        }

        var oracle = ByAutograd(
            (q, k, v) => ((q.matmul(k.repeat_interleave(2, 1).transpose(2, 3)) / 4) + mask).softmax(-1).matmul(v.repeat_interleave(2, 1))
        );
        var attended = ByAutograd((q, k, v) => attention.Attend(q, k, v));
        var result = attention.Forward(query, key, value);
        var (dq, dk, dv) = attention.Backward(gradient, query, key, value, result);
        Tensor[] lean = [result.Output, dq, dk, dv];
        for (var i = 0; i < oracle.Length; i++)
        {
            Near.AssertEqual(oracle[i], attended[i], 5e-6, $"autograd, result {i}");
            Near.AssertEqual(oracle[i], lean[i], 5e-6, $"kernels, result {i}");
        }
    }

    public static TheoryData<string, int, double?, bool, bool> CappedCases()
    {
        var data = new TheoryData<string, int, double?, bool, bool>();
        foreach (var kind in new[] { "full", "dilated", "shifted-sparse" })
        {
            foreach (var window in new[] { 1, 5, 100 })
            {
                foreach (var byAutograd in new[] { false, true })
                {
                    data.Add(kind, window, null, true, byAutograd);
                    data.Add(kind, window, 0.7, false, byAutograd);
                    data.Add(kind, window, 1.5, true, byAutograd);
                }
            }
        }
        return data;
    }

    // By autograd: the way of devices whose kernels are not called directly.
    [Theory]
    [MemberData(nameof(CappedCases))]
    public void Caps_and_sinks_equal_a_dense_softmax_with_gradients(string kind, int window, double? cap, bool hasSinks, bool byAutograd)
    {
        using var scope = NewDisposeScope();
        using var sinks = new LongLora.Layers.Weight("sinks", Random(5, Heads).requires_grad_(true));
        IAttention attention = kind switch
        {
            "full" => new FullAttention { IsByAutograd = byAutograd },
            "dilated" => new DilatedAttention(Group) { IsByAutograd = byAutograd },
            _ => new ShiftedSparseAttention(Group) { IsByAutograd = byAutograd },
        };
        attention = attention.Within(window);
        if (cap is { } c)
            attention = attention.WithScoreCap(c);
        if (hasSinks)
            attention = attention.WithSinks(sinks);
        Tensor query = Random(1, 2, Heads, Length, 16),
            key = Random(2, 2, 2, Length, 16),
            value = Random(3, 2, 2, Length, 16),
            gradient = Random(4, 2, Heads, Length, 16);
        var pairs = Enumerable
            .Range(0, Heads * Length * Length)
            .Select(at => IsSeen(kind, window, at / (Length * Length), at / Length % Length, at % Length) ? 0 : float.NegativeInfinity)
            .ToArray();
        var mask = tensor(pairs, [Heads, Length, Length]);
        Tensor Dense(Tensor q, Tensor k, Tensor v)
        {
            var scores = q.matmul(k.repeat_interleave(2, 1).transpose(2, 3)) / 4;
            scores = (cap is { } bound ? (scores / bound).tanh() * bound : scores) + mask;
            if (hasSinks)
                scores = cat([scores, sinks.Value.view(1, -1, 1, 1).expand(2, -1, Length, 1)], -1);
            return scores.softmax(-1).narrow(-1, 0, Length).matmul(v.repeat_interleave(2, 1));
        }
        Tensor[] ByAutograd(Func<Tensor, Tensor, Tensor, Tensor> attend)
        {
            sinks.GetGradient().zero_();
            var leaves = new[] { query, key, value }.Select(x => x.clone().requires_grad_(true)).ToArray();
            var output = attend(leaves[0], leaves[1], leaves[2]);
            output.backward([gradient]);
            return [output, .. leaves.Select(l => l.grad!), sinks.GetGradient().clone()];
        }
        var oracle = ByAutograd(Dense);
        var attended = ByAutograd((q, k, v) => attention.Attend(q, k, v));
        sinks.GetGradient().zero_();
        var result = attention.Forward(query, key, value);
        var (dq, dk, dv) = attention.Backward(gradient, query, key, value, result);
        Tensor[] lean = [result.Output, dq, dk, dv, sinks.GetGradient()];
        // Some heads at a time, as on long texts.
        var halves = new[] { new HeadSlice(0, 2, Heads), new HeadSlice(2, 2, Heads) }
            .Select(h =>
                attention
                    .Forward(query.narrow(1, h.First, 2), key.narrow(1, h.First / 2, 1), value.narrow(1, h.First / 2, 1), null, h)
                    .Output
            )
            .ToArray();
        Near.AssertEqual(oracle[0], cat(halves, 1), 5e-6, "some heads at a time");
        for (var i = 0; i < oracle.Length; i++)
        {
            Near.AssertEqual(oracle[i], attended[i], 1e-5, $"autograd, result {i}");
            Near.AssertEqual(oracle[i], lean[i], 1e-5, $"lean, result {i}");
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void PairsPerHead_counts_what_a_window_leaves(string kind, int window)
    {
        double pairs = 0;
        for (var at = 0; at < Heads * Length * Length; at++)
            pairs += IsSeen(kind, window, at / (Length * Length), at / Length % Length, at % Length) ? 1 : 0;
        Assert.Equal(pairs / Heads, Create(kind).Within(window).MakePattern(Length).PairsPerHead);
    }

    [Fact]
    public void Within_twice_is_the_smaller_window_and_the_first_is_left_alone()
    {
        var first = new FullAttention().Within(8);
        Assert.Equal(
            (8, 8, 3),
            (first.MakePattern(20).Window, first.Within(9).MakePattern(20).Window, first.Within(3).MakePattern(20).Window)
        );
        Assert.Equal(8, first.MakePattern(20).Window);
    }

    [Theory]
    [InlineData(12)]
    [InlineData(40)]
    public void Within_documents_equal_each_alone(int window)
    {
        using var scope = NewDisposeScope();
        var attention = new FullAttention().Within(window);
        Tensor q = Random(1, 1, 4, 40, 8),
            k = Random(2, 1, 2, 40, 8),
            v = Random(3, 1, 2, 40, 8);
        var together = attention
            .Forward(
                q,
                k,
                v,
                [
                    [26, 14],
                ]
            )
            .Output;
        foreach (var (start, length) in new[] { (0, 26), (26, 14) })
        {
            Tensor Cut(Tensor x) => x.narrow(2, start, length);
            Near.AssertEqual(attention.Forward(Cut(q), Cut(k), Cut(v)).Output, Cut(together), 2e-6);
        }
    }
}
