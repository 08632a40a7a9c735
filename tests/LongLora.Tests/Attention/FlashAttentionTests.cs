using LongLora.Attention;
using LongLora.Runtime;
using static TorchSharp.torch;

namespace LongLora.Tests.Attention;

// B batch, H query heads, J key-value heads, L queries, S keys, K head size

[Collection(nameof(ThreadCounts))]
public sealed class FlashAttentionTests
{
    // Lengths around the borders of tiles and blocks, of one width of registers and of the other.
    public static TheoryData<int, int, int, int, int, bool> Shapes =>
        [
            .. from heads in new[] { (1, 1), (6, 2) }
            from length in new[] { 1, 5, 6, 47, 49, 97, 193, 400 }
            from size in new[] { 4, 48, 64, 77, 128 }
            from causal in new[] { true, false }
            select (heads.Item1, heads.Item2, length, causal ? length : length + 70, size, causal),
        ];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Both_passes_equal_autograd_in_fp64(int heads, int shared, int queries, int keys, int size, bool causal)
    {
        using var scope = NewDisposeScope();
        manual_seed(21);
        var q = Heads(2, heads, queries, size);
        var (k, v, gradient) = (Heads(2, shared, keys, size), Heads(2, shared, keys, size), Heads(2, heads, queries, size));
        Assert.SkipUnless(FlashAttention.Takes(q), "This processor computes attention through libtorch.");
        var expected = Expect(q, k, v, gradient, causal);
        foreach (var isWide in new[] { false, true })
        {
            var actual = Run(q, k, v, gradient, causal, isWide);
            foreach (var (name, one, other) in expected.Zip(actual, (e, a) => (e.Name, e.Value, a)))
                Near.AssertEqual(one, other, 3e-6 * Math.Max(1, one.abs().max().item<double>()), $"{name}, wide registers {isWide}:");
        }
    }

    // Scores of 1, and of 100, whose own rounding is most of the error.
    [Theory]
    [InlineData(1)]
    [InlineData(10)]
    [InlineData(100)]
    public void Errors_are_not_larger_than_those_of_the_kernel_of_libtorch(int scale)
    {
        using var scope = NewDisposeScope();
        manual_seed(22);
        var (q, gradient) = (Heads(1, 4, 300, 64).mul(scale), Heads(1, 4, 300, 64));
        var (k, v) = (Heads(1, 2, 300, 64), Heads(1, 2, 300, 64));
        Assert.SkipUnless(FlashAttention.Takes(q), "This processor computes attention through libtorch.");
        var expected = Expect(q, k, v, gradient, true);
        var (output, sums) = Dispatcher.FlashAttentionCpu(q, k, v, causal: true);
        var (queries, keys, values) = Dispatcher.FlashAttentionCpuBackward(gradient, q, k, v, output, sums, causal: true);
        Tensor[] peer = [output, sums, queries, keys, values];
        foreach (var (i, actual) in Run(q, k, v, gradient, true, false).Index())
        {
            double Error(Tensor result) => (result.to(ScalarType.Float64) - expected[i].Value).norm().item<double>();
            var (here, there) = (Error(actual), Error(peer[i]));
            TestContext.Current.SendDiagnosticMessage($"{scale} {expected[i].Name}: {here:G3}, libtorch {there:G3}");
            Assert.True(here <= 1.3 * there, $"{expected[i].Name}: {here:G3} here, {there:G3} with libtorch");
        }
    }

    // Several blocks of keys and of queries, and ends within a block.
    [Theory]
    [InlineData(400, true)]
    [InlineData(400, false)]
    [InlineData(49, true)]
    public void In_bf16_both_passes_round_what_they_give_in_fp32(int length, bool causal)
    {
        using var scope = NewDisposeScope();
        manual_seed(26);
        Tensor Narrow(int heads) => Heads(2, heads, length, 48).to(ScalarType.BFloat16);
        Tensor[] narrow = [Narrow(6), Narrow(2), Narrow(2), Narrow(6)];
        Tensor[] wide = [.. narrow.Select(t => t.to(ScalarType.Float32))];
        Assert.SkipUnless(FlashAttention.Takes(narrow[0]), "This processor computes attention through libtorch.");
        foreach (var isWide in new[] { false, true })
        {
            var made = Run(narrow[0], narrow[1], narrow[2], narrow[3], causal, isWide);
            var (output, sums) = FlashAttention.Forward(wide[0], wide[1], wide[2], causal, isWide);
            Near.AssertEqual(output.to(ScalarType.BFloat16), made[0], 0);
            Near.AssertEqual(sums, made[1], 0);
            // The backward pass reads the rounded output.
            var (q, k, v) = FlashAttention.Backward(
                wide[3],
                wide[0],
                wide[1],
                wide[2],
                made[0].to(ScalarType.Float32),
                sums,
                causal,
                isWide
            );
            foreach (var (expected, actual) in new[] { q, k, v }.Zip(made.Skip(2)))
            {
                Assert.Equal(ScalarType.BFloat16, actual.dtype);
                Near.AssertEqual(expected.to(ScalarType.BFloat16), actual, 0);
            }
        }
    }

    [Fact]
    public void Results_do_not_depend_on_threads_batch_or_other_heads()
    {
        using var scope = NewDisposeScope();
        manual_seed(23);
        var (q, gradient) = (Heads(3, 6, 700, 48), Heads(3, 6, 700, 48));
        var (k, v) = (Heads(3, 2, 700, 48), Heads(3, 2, 700, 48));
        Assert.SkipUnless(FlashAttention.Takes(q), "This processor computes attention through libtorch.");
        var threads = get_num_threads();
        try
        {
            set_num_threads(1);
            var one = Run(q, k, v, gradient, true, false);
            set_num_threads(7);
            for (var round = 0; round < 5; round++)
            {
                foreach (var (expected, actual) in one.Zip(Run(q, k, v, gradient, true, false)))
                    Assert.Equal(0, Near.Difference(expected, actual));
            }
            // The second text, and the heads 3 to 5 with the keys and values that they share.
            Tensor Part(Tensor all) => all.narrow(0, 1, 1).narrow(1, all.size(1) / 2, all.size(1) / 2);
            foreach (var (expected, actual) in one.Zip(Run(Part(q), Part(k), Part(v), Part(gradient), true, false)))
                Assert.Equal(0, Near.Difference(Part(expected), actual));
        }
        finally
        {
            set_num_threads(threads);
        }
    }

    [Fact]
    public void A_token_changes_nothing_before_it()
    {
        using var scope = NewDisposeScope();
        manual_seed(24);
        var (q, k, v) = (Heads(1, 2, 300, 64), Heads(1, 2, 300, 64), Heads(1, 2, 300, 64));
        Assert.SkipUnless(FlashAttention.Takes(q), "This processor computes attention through libtorch.");
        var (output, sums) = FlashAttention.Forward(q, k, v, causal: true);
        foreach (var at in new[] { 1, 6, 95, 96, 128, 250 })
        {
            var (otherKeys, otherValues) = (k.clone(), v.clone());
            otherKeys.narrow(2, at, 300 - at).mul_(2);
            otherValues.narrow(2, at, 300 - at).fill_(1e30f);
            var (other, otherSums) = FlashAttention.Forward(q, otherKeys, otherValues, causal: true);
            Assert.Equal(0, Near.Difference(output.narrow(2, 0, at), other.narrow(2, 0, at)));
            Assert.Equal(0, Near.Difference(sums.narrow(2, 0, at), otherSums.narrow(2, 0, at)));
            Assert.NotEqual(0, Near.Difference(output.narrow(2, at, 1), other.narrow(2, at, 1)));
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_key_that_is_no_number_is_not_hidden(float bad)
    {
        using var scope = NewDisposeScope();
        manual_seed(25);
        var (q, k, v) = (Heads(1, 1, 200, 64), Heads(1, 1, 200, 64), Heads(1, 1, 200, 64));
        Assert.SkipUnless(FlashAttention.Takes(q), "This processor computes attention through libtorch.");
        k.select(2, 130).fill_(bad);
        var (output, _) = FlashAttention.Forward(q, k, v, causal: true);
        Assert.True(output.narrow(2, 0, 126).isfinite().all().item<bool>(), "tokens before it");
        Assert.False(output.narrow(2, 130, 70).isfinite().all(3).any().item<bool>(), "tokens from it on");
    }

    [Fact]
    public void Causal_attention_with_more_keys_than_queries_is_refused()
    {
        using var scope = NewDisposeScope();
        var q = Heads(1, 1, 5, 16);
        var k = Heads(1, 1, 7, 16);
        Assert.SkipUnless(FlashAttention.Takes(q), "This processor computes attention through libtorch.");
        var error = Assert.Throws<ShapeException>(() => FlashAttention.Forward(q, k, k, causal: true));
        Assert.Contains("5 and 7", error.Message, StringComparison.Ordinal);
    }

    // As projections lay them out.
    private static Tensor Heads(int batch, int heads, int tokens, int size) => randn(batch, tokens, heads, size).transpose(1, 2);

    private static (string Name, Tensor Value)[] Expect(Tensor query, Tensor key, Tensor value, Tensor gradient, bool causal)
    {
        Tensor[] leaves = [.. new[] { query, key, value }.Select(t => t.to(ScalarType.Float64).requires_grad_(true))];
        var times = query.size(1) / key.size(1);
        var scores = leaves[0].matmul(leaves[1].repeat_interleave(times, 1).transpose(2, 3)) / Math.Sqrt(query.size(3));
        if (causal)
            scores = scores + full([query.size(2), key.size(2)], double.NegativeInfinity, ScalarType.Float64).triu(1);
        var output = scores.softmax(-1).matmul(leaves[2].repeat_interleave(times, 1));
        output.backward([gradient.to(ScalarType.Float64)]);
        return
        [
            ("output", output.detach()),
            ("log-sum-exp", scores.logsumexp(-1).detach()),
            ("query gradient", leaves[0].grad!),
            ("key gradient", leaves[1].grad!),
            ("value gradient", leaves[2].grad!),
        ];
    }

    private static Tensor[] Run(Tensor query, Tensor key, Tensor value, Tensor gradient, bool causal, bool isWide)
    {
        using var noGradient = no_grad();
        var (output, sums) = FlashAttention.Forward(query, key, value, causal, isWide);
        var (q, k, v) = FlashAttention.Backward(gradient, query, key, value, output, sums, causal, isWide);
        return [output, sums, q, k, v];
    }
}
