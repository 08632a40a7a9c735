using LongLora.Attention;
using static TorchSharp.torch;

namespace LongLora.Tests.Attention;

[Collection(nameof(ThreadCounts))]
public sealed class TokenAttentionTests
{
    public static TheoryData<int, int, int, int> Shapes =>
        [
            .. from heads in new[] { (1, 1), (9, 3), (8, 8), (16, 1) }
            from tokens in new[] { 1, 7, 128, 129, 1000 }
            from size in new[] { 4, 48, 64, 77, 100 }
            select (heads.Item1, heads.Item2, tokens, size),
        ];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Attend_equals_the_softmax_in_fp64(int heads, int groups, int tokens, int size)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(11);
        var query = randn(1, heads, 1, size).mul(3);
        // As in a cache: slots that are not in use come after those of a head.
        var (keys, values) = (randn(1, groups, tokens + 5, size), randn(1, groups, tokens + 5, size));
        foreach (var type in new[] { ScalarType.Float32, ScalarType.BFloat16, ScalarType.Float16, ScalarType.Int8 })
        {
            StoredHeads Store(Tensor wide)
            {
                var codes = type == ScalarType.Int8;
                var scales = wide.abs().amax([-1], keepdim: true).div(127);
                var numbers = codes ? wide.div(scales).round().to(type) : wide.to(type);
                return new(numbers.narrow(2, 0, tokens), codes ? scales.narrow(2, 0, tokens) : null);
            }
            var (storedKeys, storedValues) = (Store(keys), Store(values));
            Assert.True(TokenAttention.Takes(query));
            Near.AssertEqual(
                Expect(query, storedKeys, storedValues),
                TokenAttention.Attend(query, storedKeys, storedValues).to(ScalarType.Float64),
                4e-6,
                $"{type}"
            );
        }
    }

    [Fact]
    public void Attend_scores_far_apart_do_not_overflow()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(12);
        var query = randn(1, 2, 1, 64).mul(1000);
        var (keys, values) = (new StoredHeads(randn(1, 1, 300, 64), null), new StoredHeads(randn(1, 1, 300, 64), null));
        Near.AssertEqual(Expect(query, keys, values), TokenAttention.Attend(query, keys, values).to(ScalarType.Float64), 5e-3);
    }

    [Fact]
    public void Attend_is_the_same_on_any_number_of_threads()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        manual_seed(13);
        var query = randn(1, 4, 1, 64);
        var (keys, values) = (new StoredHeads(randn(1, 2, 5000, 64), null), new StoredHeads(randn(1, 2, 5000, 64), null));
        var threads = get_num_threads();
        try
        {
            set_num_threads(1);
            var one = TokenAttention.Attend(query, keys, values);
            set_num_threads(4);
            Assert.Equal(0, Near.Difference(one, TokenAttention.Attend(query, keys, values)));
        }
        finally
        {
            set_num_threads(threads);
        }
    }

    [Fact]
    public void Attend_shows_a_number_that_is_none()
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        var keys = randn(1, 1, 300, 8);
        keys[0, 0, 200, 3] = float.NaN;
        Assert.True(
            TokenAttention
                .Attend(randn(1, 1, 1, 8), new StoredHeads(keys, null), new StoredHeads(randn(1, 1, 300, 8), null))
                .isnan()
                .all()
                .item<bool>()
        );
    }

    [Fact]
    public void Takes_only_single_tokens_outside_autograd()
    {
        using var scope = NewDisposeScope();
        Assert.False(TokenAttention.Takes(zeros(1, 2, 1, 8)));
        using var noGradient = no_grad();
        Assert.True(TokenAttention.Takes(zeros(1, 2, 1, 8)));
        Assert.False(TokenAttention.Takes(zeros(1, 2, 2, 8)));
        Assert.False(TokenAttention.Takes(zeros(1, 2, 1, 8, ScalarType.BFloat16)));
    }

    private static Tensor Expect(Tensor query, StoredHeads keys, StoredHeads values)
    {
        var (heads, groups) = (query.size(1), keys.Numbers.size(1));
        Tensor Repeat(StoredHeads stored)
        {
            var wide = stored.Numbers.to(ScalarType.Float64);
            return (stored.Scales is null ? wide : wide * stored.Scales.to(ScalarType.Float64)).repeat_interleave(heads / groups, 1);
        }
        var scores = query.to(ScalarType.Float64).matmul(Repeat(keys).transpose(2, 3)).div(Math.Sqrt(query.size(3)));
        return scores.softmax(-1).matmul(Repeat(values));
    }
}
